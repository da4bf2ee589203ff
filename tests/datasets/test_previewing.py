"""What is seen before training: shares, warnings, and the region that keeps still."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from preparing import made
from tiny_pictures import AB, ab_dataset

from pipeline.data.cache import Cache
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.preview import Preview, Sample, cache_preview, preview_of, size_warning, split_preview
from pipeline.datasets.still_regions import GRID, still_in_images, still_in_labels

ROAD, SKY, CAR = 0, 1, 2
NAMES = ("road", "sky", "car")


def scenes(count=20, hood=True):
    """Label maps: sky over a road whose horizon and width vary, and the car's own hood with an edge that is sharp."""
    draws = np.random.default_rng(0)
    maps = []
    for _ in range(count):
        ids = np.full(GRID, SKY, dtype=np.uint8)
        ids[draws.integers(30, 60) :, draws.integers(0, 40) : draws.integers(120, 160)] = ROAD
        if hood:
            ids[-10:, 20:140] = CAR
        maps.append(ids)
    return maps


def test_the_own_hood_is_found_and_road_and_sky_are_not():
    found = still_in_labels(scenes())
    assert found.class_id == CAR
    assert found.share == pytest.approx(10 * 120 / (96 * 160))
    assert found.mask[-1, 80] and not found.mask[0, 80]
    assert still_in_labels(scenes(hood=False)) is None


def test_few_images_say_nothing_about_what_keeps_still():
    assert still_in_labels(scenes(11)) is None


def test_a_frame_is_found_in_images_and_a_film_of_one_scene_is_not():
    draws = np.random.default_rng(1)
    images = list(draws.integers(0, 256, (20, *GRID, 3), dtype=np.uint8))
    assert still_in_images(images) is None
    for image in images:
        image[:8] = 5
    assert still_in_images(images).share == pytest.approx(8 / 96)
    assert still_in_images([images[0]] * 20) is None


def seen(**changes):
    facts = {"title": "mine train", "images": 50, "looked_at": 50, "sizes": Counter({(640, 480): 50})}
    facts |= {"classes": NAMES, "pixels": (9999, 1, 0), "present": (50, 1, 0), "ignored": 0.5}
    return Preview(**{**facts, "samples": (), "still": None, **changes})


def test_absent_and_rare_classes_ignored_pixels_and_orientations_are_told():
    told = seen(sizes={(640, 480): 49, (480, 640): 1}).warnings()
    assert [line.split(":")[0] for line in told] == [
        "no pixel in any image of",
        "less than 0.1% of the pixels, hard to learn",
        "50% of the pixels are ignored",
        "mixed orientations",
    ]
    assert told[0].endswith("car") and told[1].endswith("sky (0.010%)")
    assert "the 20 images looked at" in seen(looked_at=20).warnings()[0]


def test_nothing_is_told_of_what_is_well():
    assert seen(pixels=(500, 300, 200), ignored=0.1).warnings() == []
    assert seen(pixels=None, present=None, ignored=0.0).warnings() == []


@pytest.mark.parametrize(("target", "told"), [((960, 540), True), ((900, 500), False), ((240, 130), True)])
def test_sides_of_very_different_size_are_told(target, told):
    assert bool(size_warning((480, 270), target)) == told


def test_a_preview_survives_its_file():
    preview = preview_of(
        "mine train", [Sample("a", np.zeros((*GRID, 3), np.uint8), scenes(1)[0])], 1, [], NAMES
    )
    preview = replace(preview, still=still_in_labels(scenes()))
    back = Preview.of_json(preview.as_json(), preview.samples)
    assert (back.still.mask == preview.still.mask).all()
    assert replace(back, still=None, samples=()) == replace(preview, still=None, samples=())


def test_files_and_what_is_prepared_of_them_look_the_same(tmp_path):
    spec = ab_dataset(tmp_path / "data")
    made(spec, tmp_path / "cache", size=None)
    of_files = split_preview("tiny train", CacheContent(spec, "train", AB, None, "working"))
    cache = Cache(tmp_path / "cache")
    of_cache = cache_preview("tiny train", cache, AB.names, list(of_files.sizes.elements()))
    assert of_files.as_json() == of_cache.as_json()
    assert of_files.pixels is not None and sum(of_files.pixels) > 0
    assert [one.name for one in of_files.samples] == list(cache.names)[:12]
