"""`init` on folders as strangers have them: turned photos, links, several endings, odd names, several files per image."""

import os

import numpy as np
import pytest
from PIL import Image
from strangers import label, library, picture, refused, run, source, source_of, target, target_of

from pipeline.__main__ import main
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.listing import list_split
from pipeline.datasets.preparation import prepare
from pipeline.datasets.walking import find_all_pictures


def turned(orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def prepared(spec, tmp_path):
    """What `prepare` says of the sizes, after `init` wrote the dataset file."""
    content = CacheContent(spec, "train", library().taxonomy("mine", "test"), None, "working")
    return prepare(content, ArtifactFolder(tmp_path / "cache"))["sizes"]


# Turned photos


def test_upright_labels_of_turned_photos(clone, tmp_path, capsys):
    source(tmp_path)  # labels of 48x40
    for number in range(4):
        picture(tmp_path / f"sim/rgb/{number}.png", (40, 48), exif=turned())
    target(tmp_path)
    assert run(tmp_path) == 0
    assert "source: 4 images are turned upright" in capsys.readouterr().out
    assert prepared(source_of(), tmp_path) == {"48x40": 4}


def test_labels_of_the_unturned_photo_are_refused_by_init_already(clone, tmp_path, capsys):
    source(tmp_path)
    for number in range(4):
        picture(tmp_path / f"sim/rgb/{number}.png", (48, 40), exif=turned())
    target(tmp_path)
    assert run(tmp_path) == 2
    refused(capsys, "has 48x40 pixels, its image 0.png 40x48 (upright, as its EXIF orientation says")


def test_labels_that_are_turned_like_their_photos(clone, tmp_path):
    source(tmp_path)
    for number in range(4):
        picture(tmp_path / f"sim/rgb/{number}.png", (48, 40), exif=turned())
        label(tmp_path / f"sim/sem/{number}.png", (3, 9), exif=turned())
    target(tmp_path)
    assert run(tmp_path) == 0
    assert prepared(source_of(), tmp_path) == {"40x48": 4}


@pytest.mark.parametrize("decoded", [1, 200])
def test_portrait_photos_get_a_portrait_size(clone, tmp_path, monkeypatch, decoded):
    """Whether their size is read from the header or from the decoded picture."""
    monkeypatch.setattr("pipeline.onboarding.inspection.DECODED", decoded)
    source(tmp_path)
    for number in range(5):
        picture(tmp_path / f"photos/{number}.jpg", (640, 480), exif=turned())
    assert run(tmp_path) == 0
    assert library().task("mine", "test").target.size == (384, 512)


def test_the_orientation_of_most_photos_counts_not_their_most_frequent_size(clone, tmp_path, capsys):
    source(tmp_path)
    for number in range(6):
        picture(tmp_path / f"photos/p{number}.jpg", (480, 600 + number))
    for number in range(4):
        picture(tmp_path / f"photos/l{number}.jpg", (640, 480))
    assert run(tmp_path) == 0
    width, height = library().task("mine", "test").target.size
    assert width < height
    assert "target: mixed orientations: 6 portrait, 4 landscape" in capsys.readouterr().out


# Links and files that are left out


def test_init_doctor_and_predict_see_the_same_pictures(clone, tmp_path, capsys):
    source(tmp_path)
    for number in range(4):
        picture(tmp_path / f"photos/in/IMG_{number}.jpg", (60, 44))
        picture(tmp_path / f"elsewhere/E_{number}.jpg", (60, 44))
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/x.heic").write_bytes(b"")
    (tmp_path / "photos/in/gone.jpg").symlink_to("nowhere")
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert "target: 8 images" in out
    for text in ("lies in: loop", "(.heic): x.heic", "a broken link: in/gone.jpg", "followed: 1: more -> "):
        assert text in out
    main(["doctor", "--configfile", "config/mine.yaml"])
    out = capsys.readouterr().out
    assert "train: 8 images" in out and "train: left out: 1, a broken link: in/gone.jpg" in out
    assert len(find_all_pictures(tmp_path / "photos").files) == 8  # what `predict` walks


def test_nothing_but_unread_pictures(clone, tmp_path, capsys):
    source(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.HEIC").write_bytes(b"")
    assert run(tmp_path) == 2
    refused(capsys, "holds no picture", "of a format that is not read (.heic): x.HEIC")


# Endings


def test_several_endings_keep_all_images(clone, tmp_path):
    source(tmp_path)
    target(tmp_path)
    picture(tmp_path / "photos/IMG_9.JPG")
    picture(tmp_path / "photos/IMG_8.png")
    assert run(tmp_path) == 0
    spec = target_of()
    assert spec.split("train").images == ("*.jpg", "*.png")
    assert len(list_split(spec, "train", False).items) == 7


@pytest.mark.parametrize("images", ["sim/rgb", "sim/rgb/*.png"])
def test_sources_of_several_endings(clone, tmp_path, images):
    source(tmp_path)
    (tmp_path / "sim/rgb/3.png").rename(tmp_path / "sim/rgb/3.PNG")
    (tmp_path / "sim/sem/1.png").rename(tmp_path / "sim/sem/1.Png")
    if images == "sim/rgb":
        picture(tmp_path / "sim/rgb/2.jpg")
        (tmp_path / "sim/rgb/2.png").unlink()
    target(tmp_path)
    assert run(tmp_path, images=images) == 0
    listing = list_split(source_of(), "train", True)
    assert (len(listing.items), listing.problems) == (4, ())


def test_one_name_with_two_endings_must_be_told_apart(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path)
    picture(tmp_path / "photos/IMG_0.png")
    assert run(tmp_path) == 2
    refused(capsys, "IMG_0.jpg and IMG_0.png", "photos/*.jpg' or ", "photos/*.png'")


# Names that lists and patterns must hold

ODD = (
    "#001",
    " outer ",
    '"q"',
    "a'b",
    "ü 1",
    "x,y",
    "{z}",
    "%d",
    "50%",
    "\u2028",
    "a\tb",
    "-",
    "n: 1",
    "[0]",
)


@pytest.mark.parametrize("name", ODD)
def test_odd_names_reach_training_and_figures(clone, tmp_path, name):
    source(tmp_path)
    for number, stem in enumerate((name, "0002", "0003", "0004", "zz", "~")):
        picture(tmp_path / f"photos/{stem}.jpg", (60, 44), number)
        label(tmp_path / f"truth/{stem}.png", (3, 9), (60, 44))
    assert run(tmp_path, "--target-labels", str(tmp_path / "truth"), "--target-ids", "same") == 0
    spec = target_of()
    train, val = list_split(spec, "train", False), list_split(spec, "val", True)
    assert train.problems == val.problems == ()
    assert {*train.names, *val.names} == {name, "0002", "0003", "0004", "zz", "~"}


@pytest.mark.parametrize("name", ["a\nb", "a\rb", os.fsdecode(b"\xff")])
@pytest.mark.parametrize("folder", ["sim/rgb", "photos"])
def test_names_that_no_list_can_hold_are_refused_by_name(clone, tmp_path, capsys, folder, name):
    source(tmp_path)
    target(tmp_path)
    picture(tmp_path / folder / "x.png")
    (tmp_path / folder / "x.png").rename(tmp_path / folder / f"{name}.png")
    assert run(tmp_path) == 2
    refused(capsys, "line break or are no text", repr(ascii(name))[2:-2].replace("\\\\", "\\"))


@pytest.mark.parametrize("folder", ["in $HOME", "back\\slash", "new\nline"])
def test_folders_that_a_dataset_file_cannot_name_are_refused(clone, tmp_path, capsys, folder):
    source(tmp_path)
    target(tmp_path)
    (tmp_path / "photos").rename(tmp_path / folder)
    assert run(tmp_path, target=folder) == 2
    refused(capsys, "cannot stand in a dataset file", "rename the folder")


@pytest.mark.parametrize("folder", ["ü", "😀", "#x", "a: b", " outer ", '"q"', "\x7f", "{a}", "[b]"])
def test_other_folders_may_have_any_name(clone, tmp_path, folder):
    source(tmp_path, image=f"{folder}/rgb/{{}}.png".replace("{a}", "{{a}}"), mark="c/{}.png")
    target(tmp_path)
    assert run(tmp_path, images=f"{folder}/rgb", labels="c") == 0
    assert len(list_split(source_of(), "train", True).items) == 4


# Several files per image


def cityscapes(tmp_path):
    for number in range(4):
        stem = f"aachen/aachen_00000{number}_000019"
        picture(tmp_path / f"left/train/{stem}_leftImg8bit.png", seed=number)
        label(tmp_path / f"gtFine/train/{stem}_gtFine_labelIds.png", (3, 9))
        label(tmp_path / f"gtFine/train/{stem}_gtFine_color.png", ((1, 2, 3), (9, 9, 9)))
        objects = np.full((40, 48), 26001, np.uint16)
        Image.fromarray(objects).save(tmp_path / f"gtFine/train/{stem}_gtFine_instanceIds.png")
        (tmp_path / f"gtFine/train/{stem}_gtFine_polygons.json").write_text("{}")


def test_several_kinds_of_labels_side_by_side(clone, tmp_path, capsys):
    cityscapes(tmp_path)
    target(tmp_path)
    assert run(tmp_path, images="left/train", labels="gtFine/train") == 2
    wanted = f"{tmp_path}/gtFine/train/*/*_gtFine_labelIds.png"
    refused(
        capsys,
        f"--source-labels '{wanted}'  (8-bit ids)",
        "*_gtFine_color.png'  (colors)",
        "*_gtFine_instanceIds.png'  (no class labels",
    )
    assert run(tmp_path, images="left/train", labels="gtFine/train/*/*_gtFine_labelIds.png") == 0
    assert len(list_split(source_of(), "train", True).items) == 4


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ("s/la/ids/{}.png", "s/la/ids/*.png'"),
        ("s/la/ids_{}.png", "s/la/ids_*.png'"),
        ("s/la/{}.ids.png", "s/la/*.ids.png'"),
    ],
)
def test_kinds_by_folder_by_start_and_by_end(clone, tmp_path, capsys, mark, shown):
    source(tmp_path, image="s/im/{}.png", mark=mark)
    source(tmp_path, image="s/im/{}.png", mark=mark.replace("ids", "tint"), values=((1, 2, 3), (4, 5, 6)))
    target(tmp_path)
    assert run(tmp_path, images="s/im", labels="s/la") == 2
    refused(capsys, "several files per image", shown, shown.replace("ids", "tint"))
