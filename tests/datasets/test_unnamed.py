"""Pixels of values that nobody names: `unnamed: nearest` or `ignore`, and the count of those that are far."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from preparing import made
from pydantic import ValidationError
from tiny_pictures import AB, ab_spec, write_ids, write_image

from pipeline.artifacts.errors import DataError
from pipeline.data.cache import Cache
from pipeline.datasets.listing import identity, list_split
from pipeline.datasets.nearest import FAR, far_values, nearest_colors, nearest_values
from pipeline.datasets.taxonomy import IGNORE


@given(st.sets(st.integers(0, 255), min_size=1, max_size=8))
def test_nearest_values_by_the_definition(named):
    for value in range(256):
        slow = min(sorted(named), key=lambda other: abs(other - value))
        assert nearest_values(named)[value] == slow
        assert far_values(named)[value] == (abs(slow - value) > FAR)


def test_nearest_colors_by_the_definition():
    draw = np.random.default_rng(0)
    colors = [tuple(map(int, color)) for color in draw.integers(0, 256, (7, 3))]
    pixels = draw.integers(0, 256, (5000, 3))
    places, far = nearest_colors((pixels << [16, 8, 0]).sum(axis=1).astype(np.uint32), colors)
    distances = ((pixels[:, None] - np.array(colors)) ** 2).sum(axis=2)
    np.testing.assert_array_equal(places, distances.argmin(axis=1))
    np.testing.assert_array_equal(far, distances.min(axis=1) > FAR**2)


LEVELS = np.array([[0, 3, 127, 128, 200, 255]], dtype=np.uint8)
MEANINGS = {
    "nearest": [[0, 0, 0, 1, 1, 1]],
    "ignore": [[0, IGNORE, IGNORE, IGNORE, IGNORE, 1]],
}


@pytest.mark.parametrize("unnamed", ["nearest", "ignore"])
@pytest.mark.parametrize("labels_as", ["ids8", "grey"])
def test_values_without_a_name(tmp_path, unnamed, labels_as):
    write_image(tmp_path / "data/images/x.png", (6, 1))
    write_ids(tmp_path / "data/labels/x.png", LEVELS)
    spec = ab_spec(tmp_path / "data", ids={"a": 0, "b": 255}, labels_as=labels_as, unnamed=unnamed)
    told = []
    made(spec, tmp_path / "out", size=None, warn=told.append)
    assert Cache(tmp_path / "out").labels[0].tolist() == MEANINGS[unnamed]
    with pytest.raises(DataError, match=r"raw ids 3, 127, 128, 200 are not named"):
        made(ab_spec(tmp_path / "data", ids={"a": 0, "b": 255}), tmp_path / "other", size=None)
    if unnamed == "ignore":
        assert told == [] and not (tmp_path / "out/run/far-pixels.csv").exists()
        return
    (line,) = told
    assert "1 labels hold 3 pixels that are farther than 40" in line  # 127, 128 and 200
    with (tmp_path / "out/run/far-pixels.csv").open(newline="") as file:
        assert [row["pixels"] for row in csv.DictReader(file)] == ["3"]


@pytest.mark.parametrize("unnamed", ["nearest", "ignore"])
def test_colors_without_a_name(tmp_path, unnamed):
    write_image(tmp_path / "data/images/x.png", (4, 1))
    (tmp_path / "data/labels").mkdir()
    pixels = np.array([[[0, 0, 0], [9, 9, 9], [200, 0, 0], [100, 0, 0]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "data/labels/x.png")
    colors = {"a": [[0, 0, 0]], "b": [[200, 0, 0]]}
    told = []
    spec = ab_spec(tmp_path / "data", labels_as="colors", colors=colors, unnamed=unnamed)
    made(spec, tmp_path / "out", size=None, warn=told.append)
    expected = {"nearest": [[0, 0, 1, 0]], "ignore": [[0, IGNORE, 1, IGNORE]]}[unnamed]
    assert Cache(tmp_path / "out").labels[0].tolist() == expected
    assert len(told) == (unnamed == "nearest")


def test_masks_are_cut_in_the_middle_and_their_grey_pixels_counted(tmp_path):
    write_image(tmp_path / "data/images/x.png", (6, 1))
    write_ids(tmp_path / "data/labels/x.png", LEVELS)
    told = []
    made(ab_spec(tmp_path / "data", labels_as="mask"), tmp_path / "out", size=None, warn=told.append)
    assert Cache(tmp_path / "out").labels[0].tolist() == MEANINGS["nearest"]
    assert len(told) == 1 and " 3 pixels" in told[0]


def test_far_pixels_of_parts_that_were_finished_before_count_too(tmp_path):
    for name in "xyz":
        write_image(tmp_path / f"data/images/{name}.png", (6, 1))
        write_ids(tmp_path / f"data/labels/{name}.png", LEVELS)
    spec = ab_spec(tmp_path / "data", ids={"a": 0, "b": 255}, unnamed="nearest")
    write_ids(tmp_path / "data/labels/z.png", np.zeros((2, 2)))
    with pytest.raises(DataError):
        made(spec, tmp_path / "out", size=None)
    write_ids(tmp_path / "data/labels/z.png", LEVELS)
    told = []
    made(spec, tmp_path / "out", size=None, warn=told.append)
    assert "3 labels hold 9 pixels" in told[0]


def test_exact_labels_are_identified_as_before_and_others_on_their_own(tmp_path):
    write_image(tmp_path / "images/x.png")
    write_ids(tmp_path / "labels/x.png", np.zeros((6, 8)))
    plain, nearest = ab_spec(tmp_path), ab_spec(tmp_path, unnamed="nearest")
    listing = list_split(plain, "train", True)
    assert identity(plain, listing) == identity(ab_spec(tmp_path, unnamed="error"), listing)
    assert identity(plain, listing) != identity(nearest, listing)


@pytest.mark.parametrize("labels_as", ["mask", "synthia"])
def test_kinds_that_know_no_other_values_refuse_the_key(tmp_path, labels_as):
    with pytest.raises(ValidationError, match="unnamed: only with"):
        ab_spec(tmp_path, labels_as=labels_as, unnamed="nearest")


def test_the_lookup_of_the_nearest(tmp_path):
    table = ab_spec(tmp_path, ids={"a": 10, "b": 30, "ignore": 200}, unnamed="nearest").lookup(AB)
    assert [table[value] for value in (0, 20, 21, 115, 116, 255)] == [0, 0, 1, 1, IGNORE, IGNORE]


def test_left_out_files_are_told(tmp_path):
    write_image(tmp_path / "data/images/x.png")
    (tmp_path / "data/images/y.heic").write_bytes(b"")
    told = []
    made(ab_spec(tmp_path / "data"), tmp_path / "out", labels="none", warn=told.append)
    assert told == ["ab.yaml: split train: left out: 1, of a format that is not read (.heic): images/y.heic"]
