"""Which images a task prepares: disjoint evaluation, nested labelled subsets, and labels that stay closed."""

import itertools

import pytest
from shop import by_key

from pipeline.plan.datasets import nested_choice

NAMES = [f"image{number:02d}" for number in range(30)]
SUPERVISED = {
    "title": "t",
    "stages": {"source": {"method": "supervised", "objective": {"labelled_weight": 1.0}}},
}


def labelled_stage(shop):
    return shop.run().stages["source"].parents["labelled"]


@pytest.fixture
def labelled(shop):
    shop.write("recipes", "labelled", SUPERVISED)
    shop.experiment("main", "labelled", labelled={"count": 2})
    return shop


def test_smaller_choices_are_contained_in_larger_ones():
    choices = [nested_choice(NAMES, count, seed=3) for count in range(1, 31)]
    for smaller, larger in itertools.pairwise(choices):
        assert larger[: len(smaller)] == smaller
    assert sorted(choices[-1]) == NAMES


def test_a_choice_depends_on_the_seed_and_not_on_the_order_given():
    assert nested_choice(NAMES[::-1], 5, 0) == nested_choice(NAMES, 5, 0)
    assert nested_choice(NAMES, 5, 0) != nested_choice(NAMES, 5, 1)


def test_a_choice_stays_as_it_was():
    """Results of others hang on it."""
    assert nested_choice(NAMES, 4, 0) == ["image03", "image10", "image18", "image17"]


def test_the_labelled_images_alone_are_prepared_with_labels(labelled):
    stage = labelled_stage(labelled)
    assert stage.parameters.labels == "working"
    assert stage.parameters.names == tuple(nested_choice([f"train_{n:05d}" for n in range(4)], 2, 0))


def test_another_seed_or_count_of_the_choice_is_another_stage(labelled):
    keys = set()
    for subset in ({"count": 2}, {"count": 3}, {"count": 2, "seed": 1}):
        labelled.experiment("main", "labelled", labelled=subset)
        keys.add(labelled_stage(labelled).key)
    assert len(keys) == 3


def test_the_seed_of_the_experiment_does_not_change_the_choice(labelled):
    labelled.experiment("main", "labelled", labelled={"count": 2}, seeds=[0, 1])
    first, second = labelled.runs()
    assert first.stages["source"].parents["labelled"] is second.stages["source"].parents["labelled"]


def test_a_list_of_names_may_choose(labelled):
    (labelled.root / "mine.txt").write_text("# mine\ntrain_00003\n\ntrain_00001\n")
    labelled.experiment("main", "labelled", labelled={"names": "mine.txt"})
    assert labelled_stage(labelled).parameters.names == ("train_00003", "train_00001")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train_0003\n", "unknown image 'train_0003' (did you mean `train_00003`?"),
        ("train_00001\ntrain_00001\n", "no or repeated names"),
        ("# nothing\n", "no or repeated names"),
    ],
)
def test_a_wrong_list_of_names_is_refused(labelled, text, message):
    (labelled.root / "mine.txt").write_text(text)
    labelled.experiment("main", "labelled", labelled={"names": "mine.txt"})
    found = labelled.fails()
    assert message in found and "mine.txt" in found


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ({"count": 5}, "labelled.count 5: the target has 4 images"),
        ({"names": "none.txt"}, "labelled.names: no file"),
        ({"count": 2, "names": "x.txt"}, "give either `count`"),
        ({}, "give either `count`"),
    ],
)
def test_a_wrong_labelled_subset_is_refused(labelled, subset, message):
    labelled.experiment("main", "labelled", labelled=subset)
    assert message in labelled.fails()


def own_target(shop, folder, images=4, labels=()):
    """A target of files whose label files exist only for the images `labels`."""
    for kind, numbers, ending in (("images", range(images), "jpg"), ("labels", labels, "png")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (folder / kind / f"{number}.{ending}").write_bytes(bytes(4 + number))
    ids = {name: place for place, name in enumerate(shop.config().library.taxonomy("camvid11", "t").names)}
    splits = {"train": {"images": "images/*.jpg", "labels": "labels/*.png"}}
    shop.write("datasets", "own", {"root": str(folder), "splits": splits, "ids": ids})
    shop.edit("tasks", "tiny", target={"dataset": "own"})


def test_a_target_without_any_label_file_plans(shop, tmp_path):
    own_target(shop, tmp_path / "data")
    (tmp_path / "data" / "labels").rmdir()
    stages = by_key(shop.runs())
    assert any(stage.label == "prepare-own-train" for stage in stages.values())


def test_a_label_file_more_changes_nothing_of_an_unsupervised_plan(shop, tmp_path):
    own_target(shop, tmp_path / "data", labels=[0])
    before = set(by_key(shop.runs()))
    own_target(shop, tmp_path / "data", labels=[0, 1])
    assert set(by_key(shop.runs())) == before


def test_of_a_labelled_subset_only_its_own_labels_count(labelled, tmp_path):
    (labelled.root / "mine.txt").write_text("1\n3\n")
    labelled.experiment("main", "labelled", labelled={"names": "mine.txt"})
    own_target(labelled, tmp_path / "data", labels=[1, 3])
    before = labelled_stage(labelled).key
    own_target(labelled, tmp_path / "data", labels=[0, 1, 3])
    assert labelled_stage(labelled).key == before
    (tmp_path / "data" / "labels" / "3.png").write_bytes(bytes(77))
    assert labelled_stage(labelled).key != before


def test_what_raw_ids_mean_is_part_of_a_labelled_subset(labelled, tmp_path):
    (labelled.root / "mine.txt").write_text("1\n3\n")
    labelled.experiment("main", "labelled", labelled={"names": "mine.txt"})
    own_target(labelled, tmp_path / "data", labels=[1, 3])
    before = labelled_stage(labelled).key
    labelled.edit("datasets", "own", ids={"ignore": 200})
    assert labelled_stage(labelled).key != before


def test_target_and_evaluation_must_be_disjoint(shop):
    shop.edit("tasks", "tiny", evaluate={"split": "train"})
    message = shop.fails()
    assert "4 images are in both the target split `train` and the evaluation split `train`" in message
    assert "first: train_00000" in message and "tiny.yaml" in message


@pytest.mark.parametrize("pattern", ["photos/*.jpg", "photos/1*.jpg", "*/1*.jpg"])
def test_an_image_is_the_same_under_another_name_of_dataset_split_or_image(shop, tmp_path, pattern):
    for name in ("10", "11", "20"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        for ending in ("jpg", "png"):
            (tmp_path / "photos" / f"{name}.{ending}").write_bytes(b"x")
    ids = {name: place for place, name in enumerate(shop.config().library.taxonomy("camvid11", "test").names)}
    for name, images in (("first", "photos/*.jpg"), ("second", pattern)):
        split = {"images": images, "labels": images.replace("jpg", "png")}
        shop.write("datasets", name, {"root": str(tmp_path), "splits": {name: split}, "ids": ids})
    target, evaluate = ({"dataset": name, "split": name} for name in ("first", "second"))
    shop.edit("tasks", "tiny", target=target, evaluate=evaluate)
    count = 3 if pattern == "photos/*.jpg" else 2
    message = shop.fails()
    assert f"{count} images are in both the target split `first` and the evaluation split `second`" in message


def test_two_datasets_may_use_the_same_names(shop):
    shop.edit("datasets", "streets-rendered", splits={"val": {"count": 2}})
    shop.edit("tasks", "tiny", evaluate={"dataset": "streets-rendered", "split": "val"})
    assert shop.run().evaluates["source"].parents["data"].label == "prepare-streets-rendered-val"


def test_an_unknown_split_names_the_nearest(shop):
    shop.edit("tasks", "tiny", target={"split": "trian"})
    message = shop.fails()
    assert "dataset streets-camera has no split `trian`; did you mean `train`?" in message
    assert "tiny.yaml" in message


def test_the_evaluation_keeps_labels_at_their_own_size(shop):
    stage = shop.run().evaluates["source"].parents["data"]
    assert stage.parameters.labels == "native"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ((24, 16), "bilinear")),
        ({"size": [48, 32]}, ((48, 32), "bilinear")),
        ({"size": None, "resample": "bicubic"}, (None, "bicubic")),
    ],
)
def test_what_evaluate_leaves_out_is_the_targets(shop, own, expected):
    shop.edit("tasks", "tiny", target={"size": [24, 16], "resample": "bilinear"}, evaluate=own)
    data = shop.run().evaluates["source"].parents["data"]
    assert (data.parameters.size, data.parameters.resample) == expected
