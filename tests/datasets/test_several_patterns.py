"""Splits of several patterns, and endings in any case."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_pictures import ab_spec, write_ids, write_image

from pipeline.datasets.items import Item, Listing
from pipeline.datasets.listing import identity, list_split
from pipeline.datasets.spec import DatasetSpec


def spec_of(root, images, labels=None):
    split = {"images": images} | ({"labels": labels} if labels else {})
    ids = {"ids": {"a": 0, "b": 1}} if labels else {}
    return DatasetSpec.model_validate({"root": str(root), "splits": {"train": split}, **ids})


def files_of(listing):
    return [item.image.name for item in listing.items], [
        item.label.name for item in listing.items if item.label is not None
    ]


@pytest.fixture
def mixed(tmp_path):
    """Images and labels of several endings."""
    for name in ("a.jpg", "b.JPG", "c.png"):
        write_image(tmp_path / "images" / name)
    for name in ("a.png", "b.PNG", "c.bmp"):
        write_ids(tmp_path / "labels" / name, np.zeros((6, 8)))
    return tmp_path


def test_several_patterns_and_endings_in_any_case(mixed):
    spec = spec_of(mixed, ["images/*.jpg", "images/*.png"], ["labels/*.png", "labels/*.bmp"])
    listing = list_split(spec, "train", True)
    assert files_of(listing) == (["a.jpg", "b.JPG", "c.png"], ["a.png", "b.PNG", "c.bmp"])
    assert listing.problems == ()
    assert files_of(list_split(spec, "train", True, names=["c", "b"])) == (
        ["c.png", "b.JPG"],
        ["c.bmp", "b.PNG"],
    )


def test_one_name_for_two_images_or_labels_is_a_problem(mixed):
    write_image(mixed / "images/a.png")
    write_ids(mixed / "labels/c.png", np.zeros((6, 8)))
    spec = spec_of(mixed, ["images/*.jpg", "images/*.png"], ["labels/*.png", "labels/*.bmp"])
    reasons = {Path(bad.path).name: bad.reason for bad in list_split(spec, "train", True).problems}
    assert "has the name `a`, as has" in reasons["a.png"]
    assert "is a second label of" in reasons["c.bmp"]


def test_a_file_that_two_patterns_match_is_one_image(mixed):
    assert list_split(spec_of(mixed, ["images/*.jpg", "images/*.JPG"]), "train", False).names == ("a", "b")


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        ([], None, "at least 1"),
        (["a/*.jpg", "b/**/*.jpg"], None, r"images: `b/\*\*/\*.jpg` needs the same"),
        (["a/*.jpg", "b/x.jpg"], None, "needs the same"),
        (["a/*.jpg"], ["b/*.png", "../c/*.png"], "must be a path below"),
    ],
)
def test_patterns_must_fit_each_other(tmp_path, images, labels, told):
    with pytest.raises(ValidationError, match=told):
        spec_of(tmp_path, images, labels)


def test_one_pattern_is_identified_as_before(tmp_path):
    """The digest is frozen: another one would prepare and train everything again."""
    listing = Listing("train", False, (Item("0", tmp_path / "images/0.png"),), (("images/0.png", 99),))
    spec = ab_spec(tmp_path)
    assert identity(spec, listing) == "cd56d4a2041a0e6f0dbb0f1102e877ce1283dff9b6f9bdc21af8e18e25838f30"
    labelled = replace(listing, with_labels=True)
    assert identity(spec, labelled) == "d066de370e62b35e74df23556bcee5310e3458acf823681a8336c25b8097a005"
