"""`init` as a new user meets it: folders with other names, sizes and ids than ours, and every mistake."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from strangers import held_out, label, library, picture, refused, run, source, target

from pipeline.config.load import load_config
from pipeline.datasets.listing import list_split
from pipeline.plan.planner import Planner


def test_two_folders_become_a_plan(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path)
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert "python -m pipeline start --configfile config/mine.yaml" in out
    assert "75.00%  class_3" in out
    planned, source_only = Planner(load_config(["config/mine.yaml"])).plan()
    assert list(planned.stages) == ["source", "inter", "ranking", "split", "labels", "intra"]
    assert not planned.evaluates
    assert (source_only.experiment, list(source_only.stages)) == ("mine-source-only", ["source"])
    spec = library().dataset("mine-source", "test")
    assert spec.raw_classes() == {3: "class_3", 9: "class_9"}
    assert len(list_split(spec, "train", True).items) == 4
    for name in ("mine-source", "mine-target"):
        lines = (clone / f"config/datasets/{name}.yaml").read_text().splitlines()
        assert len(lines) <= 15 and lines[0].startswith("# ")
    assert "class_3, color: [" in (clone / "config/taxonomies/mine.yaml").read_text()
    assert "# 3: 75.00%" in (clone / "config/taxonomies/mine.yaml").read_text()


@pytest.mark.parametrize(
    ("image", "mark", "patterns"),
    [
        ("s/im/rgb_{}.png", "s/la/sem_{}.png", ("im/rgb_*.png", "la/sem_*.png")),
        ("s/im/{}_left.png", "s/la/{}_gt_ids.png", ("im/*_left.png", "la/*_gt_ids.png")),
        ("s/im/town1/a{}.png", "s/la/town1/a{}.png", ("im/*/*.png", "la/*/*.png")),
        ("s/frame0{}.jpg", "s/frame0{}_ids.png", ("*.jpg", "*_ids.png")),
    ],
)
def test_names_are_matched_around_constant_text(clone, tmp_path, image, mark, patterns):
    source(tmp_path, image=image, mark=mark)
    target(tmp_path)
    folders = [str(Path(path).parent).removesuffix("/town1") for path in (image, mark)]
    if folders[0] == folders[1]:
        folders = [f"{folders[0]}/*.jpg", f"{folders[1]}/*.png"]
    assert run(tmp_path, images=folders[0], labels=folders[1]) == 0
    split = library().dataset("mine-source", "test").split("train")
    assert (split.images, split.labels) == patterns


def test_the_keys_of_files_in_two_far_folders(clone, tmp_path):
    source(tmp_path, image="a/b/rgb/{}.png", mark="c/{}.png")
    target(tmp_path)
    assert run(tmp_path, images="a/b/rgb", labels="c") == 0
    spec = library().dataset("mine-source", "test")
    assert spec.root == str(tmp_path)
    assert len(list_split(spec, "train", True).items) == 4


def test_color_labels_get_a_color_map(clone, tmp_path, capsys):
    source(tmp_path, values=((128, 64, 128), (0, 0, 0), (70, 70, 70)))
    target(tmp_path)
    assert run(tmp_path) == 0
    spec = library().dataset("mine-source", "test")
    assert spec.labels_as == "colors"
    assert spec.colors["color_128_64_128"] == ((128, 64, 128),)
    assert library().taxonomy("mine", "test").palette()[2].tolist() == [128, 64, 128]
    assert "colors, 4 of 4 read" in capsys.readouterr().out


def test_colors_by_a_file_of_names(clone, tmp_path):
    source(tmp_path, values=((128, 64, 128), (0, 0, 0), (70, 70, 70)))
    target(tmp_path)
    (tmp_path / "names.yaml").write_text(
        "street: [[128, 64, 128]]\nhouse: [[70, 70, 70]]\nignore: [[0, 0, 0]]\n"
    )
    assert run(tmp_path, "--classes", str(tmp_path / "names.yaml")) == 0
    assert library().taxonomy("mine", "test").names == ("street", "house")
    assert library().dataset("mine-source", "test").colors["ignore"] == ((0, 0, 0),)


def test_ids_by_name_on_the_command_line(clone, tmp_path):
    source(tmp_path, values=(1, 2, 7, 255))
    target(tmp_path)
    assert run(tmp_path, "--ids", "street=1,2", "house=7", "ignore=255") == 0
    assert library().dataset("mine-source", "test").raw_classes() == {
        1: "street",
        2: "street",
        7: "house",
        255: "ignore",
    }


def test_255_is_ignored_unless_named(clone, tmp_path):
    source(tmp_path, values=(1, 2, 255))
    target(tmp_path)
    assert run(tmp_path) == 0
    assert library().dataset("mine-source", "test").raw_classes()[255] == "ignore"
    assert library().taxonomy("mine", "test").names == ("class_1", "class_2")


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_black_and_white_labels_are_masks(clone, tmp_path, ending):
    source(tmp_path, values=(0, 0, 0, 255), mark="sim/sem/{}." + ending)
    target(tmp_path)
    assert run(tmp_path) == 0
    spec = library().dataset("mine-source", "test")
    assert spec.ids == {"background": 0, "object": 255}
    assert (spec.labels_as, spec.unnamed) == {"png": ("ids8", "error"), "jpg": ("grey", "nearest")}[ending]
    assert library().task("mine", "test").metric == "dice"


def test_all_targets_labelled_keeps_the_last_fifth_for_figures(clone, tmp_path, capsys):
    source(tmp_path)
    for number in range(10):
        picture(tmp_path / f"photos/{number}.jpg", seed=number)
        label(tmp_path / f"truth/{number}.png", (3, 9))
    assert run(tmp_path, "--target-labels", str(tmp_path / "truth"), "--target-ids", "same") == 0
    assert "8 to adapt to, 2 for figures" in capsys.readouterr().out
    spec = library().dataset("mine-target", "test")
    assert list_split(spec, "val", True).names == ("8", "9")
    assert list_split(spec, "train", False).names == tuple("01234567")
    planned, source_only = Planner(load_config(["config/mine.yaml"])).plan()
    assert set(planned.evaluates) == {"source", "inter", "intra"} and set(source_only.evaluates) == {"source"}


def test_some_targets_labelled_are_the_ones_for_figures(clone, tmp_path):
    source(tmp_path)
    target(tmp_path)
    label(tmp_path / "truth/IMG_2.png", (3, 9), (60, 44))
    assert run(tmp_path, "--target-labels", str(tmp_path / "truth"), "--target-ids", "same") == 0
    spec = library().dataset("mine-target", "test")
    assert list_split(spec, "val", True).names == ("IMG_2",)
    assert len(list_split(spec, "train", False).items) == 4


def test_a_held_out_folder_with_ids_of_its_own_gives_the_figures(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path)
    words = held_out(tmp_path)
    assert run(tmp_path, *words, "--ids", "road=3", "sky=9", "--target-ids", "sky=7", "road=8") == 0
    told = capsys.readouterr().out
    assert "and 3 held-out images for figures" in told and "  75.00%   50.00%  road" in told
    spec = library().dataset("mine-heldout", "test")
    assert list_split(spec, "val", True).names == ("0", "1", "2")
    assert spec.raw_classes() == {7: "sky", 8: "road"}
    assert len(list_split(library().dataset("mine-target", "test"), "train", False).items) == 5
    for planned in Planner(load_config(["config/mine.yaml"])).plan():
        (cache,) = planned.evaluates["source"].record.domains["data"].caches
        assert planned.evaluates["source"].parents[cache].record.data.dataset.name == "mine-heldout"


def test_held_out_images_that_cannot_be_meant_are_refused(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path)
    words = held_out(tmp_path)
    assert run(tmp_path, *words[:2]) == 2
    refused(capsys, "--heldout-images and --heldout-labels: give both")
    assert run(tmp_path, *words, "--target-labels", str(tmp_path / "test/ids")) == 2
    refused(capsys, "figures are made on one of them")
    assert run(tmp_path, *words, "--target-ids", "same", target="test/pic") == 2
    refused(capsys, "3 of these images are target images too", "give the target as a pattern")
    (tmp_path / "test/ids/1.png").unlink()
    assert run(tmp_path, *words, "--target-ids", "same") == 2
    refused(capsys, "1 images have no label")
    assert not (clone / "config/mine.yaml").exists()


def test_nothing_is_overwritten_without_force(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path)
    assert run(tmp_path) == 0
    file = clone / "config/tasks/mine.yaml"
    file.write_text("# mine\n")
    capsys.readouterr()
    assert run(tmp_path) == 2
    refused(capsys, "config/tasks/mine.yaml", "--force")
    assert file.read_text() == "# mine\n"
    assert run(tmp_path, "--force") == 0
    assert file.read_text() != "# mine\n"


def test_sizes_keep_the_target_small_and_objects_alike(clone, tmp_path):
    source(tmp_path)
    target(tmp_path, size=(1600, 800))
    assert run(tmp_path) == 0
    task = library().task("mine", "test")
    assert task.target.size == (512, 256)
    assert task.source[0].size == (304, 256)  # 48x40, its shorter side as the target's


@pytest.mark.parametrize(("size", "crop"), [((1600, 800), "[304, 240]"), ((800, 1600), "[240, 256]")])
def test_trainings_see_crops_that_two_cores_can_bear(clone, tmp_path, size, crop):
    source(tmp_path)
    target(tmp_path, size=size)
    assert run(tmp_path) == 0
    text = (clone / "config/mine.yaml").read_text()
    assert text.count(f"crop: {crop}") == 3


@pytest.mark.parametrize(
    ("gpus", "processor", "precision"),
    [(None, True, "bfloat16"), (None, False, "tf32"), (True, False, "bfloat16"), (False, True, "tf32")],
)
def test_trainings_compute_as_is_quickest_here(clone, tmp_path, monkeypatch, gpus, processor, precision):
    monkeypatch.setattr("pipeline.commands.init.gpus_have_bfloat16", lambda: gpus)
    monkeypatch.setattr("pipeline.commands.init.has_quick_bfloat16", lambda: processor)
    source(tmp_path)
    target(tmp_path)
    assert run(tmp_path) == 0
    planned, _ = Planner(load_config(["config/mine.yaml"])).plan()
    assert {stage.parameters.precision for stage in planned.trained.values()} == {precision}


def test_folders_are_left_as_they_were(clone, tmp_path):
    source(tmp_path)
    target(tmp_path)
    before = sorted(tmp_path.rglob("*.*g"))
    assert run(tmp_path) == 0
    assert sorted(tmp_path.rglob("*.*g")) == before


@pytest.mark.usefixtures("nothing_written")
class TestMistakes:
    """Each is answered by an error that says what to do, and nothing is written."""

    def test_no_such_folder(self, tmp_path, capsys):
        source(tmp_path)
        assert run(tmp_path, target="fotos") == 2
        refused(capsys, "--target-images", "there is no folder", "holds clone/, sim/")

    def test_a_file_in_the_place_of_a_folder(self, tmp_path, capsys):
        source(tmp_path)
        picture(tmp_path / "photos/1.jpg")
        assert run(tmp_path, target="photos/1.jpg") == 2
        refused(capsys, "--target-images", "photos/1.jpg is a file", "photos/*.jpg'")

    def test_a_folder_without_pictures(self, tmp_path, capsys):
        source(tmp_path)
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/readme.txt").write_text("")
        assert run(tmp_path) == 2
        refused(capsys, "--target-images", "holds no picture", "readme.txt")

    def test_a_pattern_that_matches_nothing(self, tmp_path, capsys):
        source(tmp_path)
        target(tmp_path)
        assert run(tmp_path, target="photos/*.png") == 2
        refused(capsys, "nothing matches", "IMG_0.jpg")

    def test_names_that_do_not_match(self, tmp_path, capsys):
        source(tmp_path, mark="sim/sem/scene_{}x.png", image="sim/rgb/{}00.png")
        target(tmp_path)
        assert run(tmp_path) == 2
        refused(capsys, "no label belongs to an image", "000.png (below", "scene_0x.png (below")

    def test_an_image_without_label_and_the_other_way_round(self, tmp_path, capsys):
        source(tmp_path)
        target(tmp_path)
        picture(tmp_path / "sim/rgb/77.png")
        label(tmp_path / "sim/sem/88.png", (3, 9))
        assert run(tmp_path) == 2
        refused(capsys, "1 images have no label and 1 labels no image", "rgb/77.png", "sem/88.png")

    def test_photos_in_the_place_of_labels(self, tmp_path, capsys):
        source(tmp_path, mark="sim/rgb/{}.png", image="sim/more/{}.png")
        for number in range(4):
            picture(tmp_path / f"sim/rgb/{number}.png", seed=number)
        target(tmp_path)
        assert run(tmp_path, images="sim/more", labels="sim/rgb") == 2
        refused(capsys, "more than 255 different colors", "right folder")

    def test_grey_photos_in_the_place_of_labels(self, tmp_path, capsys):
        source(tmp_path)
        target(tmp_path)
        for number in range(4):
            ramp = np.arange(48 * 40).reshape(40, 48) % 256
            Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / f"sim/sem/{number}.png")
        assert run(tmp_path) == 2
        refused(capsys, "255 different ids, as grey photos do")

    def test_lossy_labels(self, tmp_path, capsys):
        source(tmp_path, values=(3, 90, 60), mark="sim/sem/{}.jpg")
        target(tmp_path)
        assert run(tmp_path) == 2
        refused(capsys, "compression has changed", "PNG")

    def test_instance_maps(self, tmp_path, capsys):
        source(tmp_path)
        target(tmp_path)
        Image.fromarray(np.full((40, 48), 26001, np.uint16)).save(tmp_path / "sim/sem/2.png")
        assert run(tmp_path) == 2
        refused(capsys, "sem/2.png", "16-bit", "Instance maps")

    def test_a_label_of_another_size(self, tmp_path, capsys):
        source(tmp_path)
        target(tmp_path)
        label(tmp_path / "sim/sem/1.png", (3, 9), (24, 20))
        assert run(tmp_path) == 2
        refused(capsys, "sem/1.png: has 24x20 pixels, its image 1.png 48x40")

    @pytest.mark.parametrize("broken", ["sim/rgb/1.png", "sim/sem/1.png", "photos/IMG_3.jpg"])
    @pytest.mark.parametrize("how", ["cut", "text", "empty"])
    def test_a_broken_file(self, tmp_path, capsys, broken, how):
        source(tmp_path)
        target(tmp_path)
        path = tmp_path / broken
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) * 2 // 3], "text": b"no picture", "empty": b""}[how])
        assert run(tmp_path) == 2
        refused(capsys, str(path))

    def test_one_class_only(self, tmp_path, capsys):
        source(tmp_path, values=(3,))
        target(tmp_path)
        assert run(tmp_path) == 2
        refused(capsys, "hold 1 classes (class_3)")

    def test_a_value_that_was_not_named(self, tmp_path, capsys):
        source(tmp_path, values=(1, 2, 7, 7))
        target(tmp_path)
        assert run(tmp_path, "--ids", "a=1", "b=2") == 2
        refused(capsys, "7 (50.00% of the pixels)", "ignore")

    def test_every_value_that_was_not_named_is_told(self, tmp_path, capsys):
        source(tmp_path, values=tuple(range(1, 17)))
        target(tmp_path)
        assert run(tmp_path, "--ids", "road=1") == 2
        refused(capsys, *(f" {value} (" for value in range(2, 17)))

    def test_one_id_under_two_names(self, tmp_path, capsys):
        source(tmp_path, values=(1, 2))
        target(tmp_path)
        assert run(tmp_path, "--ids", "a=1", "b=1,2") == 2
        refused(capsys, "--ids", "raw id 1 is under `a` and `b`")

    def test_ids_for_color_labels(self, tmp_path, capsys):
        source(tmp_path, values=((9, 9, 9), (1, 2, 3)))
        target(tmp_path)
        assert run(tmp_path, "--ids", "a=1", "b=2") == 2
        refused(capsys, "in color", "--classes")

    def test_a_name_that_cannot_be_a_file(self, tmp_path, capsys):
        assert run(tmp_path, name="../Mine") == 2
        refused(capsys, "--name ../Mine", "lower-case")

    def test_an_unknown_network(self, tmp_path, capsys):
        source(tmp_path)
        target(tmp_path)
        assert run(tmp_path, "--network", "smal") == 2
        refused(capsys, "did you mean `small`")


def test_an_empty_folder_becomes_a_project(tmp_path, monkeypatch, capsys):
    source(tmp_path)
    target(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".gitignore").write_text("mine\n")
    assert run(tmp_path) == 0
    told = capsys.readouterr().out
    for path in ("Snakefile", "config/config.yaml", "profiles/default/profile.yaml", "config/mine.yaml"):
        assert Path(path).is_file() and f"  {path}\n" in told
    assert Path(".gitignore").read_text() == "mine\n", "what is there stays"
    assert not Path("config/recipes").exists(), "the library stays in the package"
    assert [suite.name for suite in load_config().suites] == ["mine"]
