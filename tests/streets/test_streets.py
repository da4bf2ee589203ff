"""The built-in streets: frozen pictures, aligned labels, a pure function of its arguments."""

import hashlib

import numpy as np
import pytest

from pipeline.artifacts.errors import DataError
from pipeline.numerics.randomness import Draws
from pipeline.streets.canvas import Canvas, Ink, View
from pipeline.streets.images import HARD, render_scene, scene_conditions
from pipeline.streets.materials import Label, Material

GOLDEN = {
    ("rendered", "train", 0, 0): "c8858d489c515757",
    ("rendered", "val", 1, 0): "c27c920068b5b003",
    ("rendered", "train", 2, 7, (96, 64)): "7a340b40e446b871",
    ("camera", "train", 0, 0): "31a133a97a16261b",
    ("camera", "train", 1, 0): "99218f86e6e8a143",
    ("camera", "train", 5, 0): "10748775094e6441",
    ("camera", "train", 12, 0): "c845d296c5f87162",
    ("camera", "train", 30, 0): "df0efe77d05b4e83",
}


def digest(*arguments):
    image, label = render_scene(*arguments)
    return hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("key", GOLDEN, ids=lambda key: "-".join(map(str, key[:3])))
def test_the_pictures_are_frozen(key):
    """Results on streets are comparable over time only while the generator never changes."""
    assert digest(*key) == GOLDEN[key]


def test_the_golden_images_cover_every_condition():
    assert {scene_conditions(*key[:4]) for key in GOLDEN} == {"clear", *HARD}


def test_shapes_types_and_classes():
    seen = set()
    for index in range(25):
        image, label = render_scene("camera", "val", index, 1, (80, 48))
        assert image.shape == (48, 80, 3) and image.dtype == np.uint8
        assert label.shape == (48, 80) and label.dtype == np.uint8
        seen |= set(np.unique(label))
    assert seen == set(range(11))


@pytest.mark.parametrize(
    "other",
    [
        ("rendered", "train", 4, 0),
        ("rendered", "val", 3, 0),
        ("rendered", "train", 3, 1),
        ("camera", "train", 3, 0),
    ],
)
def test_each_part_of_the_key_makes_another_scene(other):
    assert not np.array_equal(render_scene("rendered", "train", 3, 0)[1], render_scene(*other)[1])


def test_an_image_does_not_depend_on_what_was_drawn_before():
    first = digest("camera", "train", 5, 0)
    render_scene("camera", "train", 6, 0)
    assert digest("camera", "train", 5, 0) == first


def test_half_to_two_thirds_of_the_camera_images_are_easy():
    found = [scene_conditions("camera", "train", index, 0) for index in range(2000)]
    assert 0.5 < found.count("clear") / 2000 < 2 / 3
    for condition in HARD:
        assert 0.05 < found.count(condition) / 2000 < 0.15


def test_rendered_images_have_no_condition():
    assert {scene_conditions("rendered", "train", index, 0) for index in range(50)} == {"clear"}


def test_unknown_domain_is_refused():
    with pytest.raises(DataError, match="rendered, camera"):
        render_scene("real", "train", 0, 0)


def test_image_and_label_are_aligned_to_the_pixel():
    """The rendering's colors are flat: a sky pixel away from any edge is blue or a cloud, road is grey."""
    image, label = render_scene("rendered", "train", 0, 0)
    color = image.astype(int)
    interior = np.zeros_like(label, bool)
    same = [
        label[1:-1, 1:-1] == label[1 + y : 95 + y, 1 + x : 159 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)
    ]
    interior[1:-1, 1:-1] = np.logical_and.reduce(same)
    sky, road = color[interior & (label == Label.SKY)], color[interior & (label == Label.ROAD)]
    assert len(sky) > 300 and len(road) > 3000
    assert (sky[:, 2] >= sky[:, 0]).all()
    assert (np.ptp(road, axis=1) <= 15).mean() > 0.99


def test_darkening_keeps_the_label():
    canvas = Canvas(8, 8, View(focal=8.0, centre=4.0, horizon=2.0, height=1.0))
    canvas.pixels[:] = Ink(Label.ROAD, Material.ROAD).packed(3.0)
    canvas.darken((0, 0, 8, 4), np.ones((4, 8), bool), 10)
    assert (canvas.pixels & 15 == Label.ROAD).all()
    assert (canvas.pixels[:4] >> 10 & 63 == 10).all() and (canvas.pixels[4:] >> 10 & 63 == 48).all()


@pytest.mark.parametrize("order", [1, -1])
def test_polygons_fill_whichever_way_their_corners_run(order):
    canvas = Canvas(10, 10, View(focal=10.0, centre=5.0, horizon=5.0, height=0.0))
    corners = [(-0.3, -0.3, 1.0), (0.3, -0.3, 1.0), (0.3, 0.3, 1.0), (-0.3, 0.3, 1.0)]
    canvas.polygon(corners[::order], Ink(Label.CAR, Material.BODY))
    expected = np.zeros((10, 10), bool)
    expected[2:8, 2:8] = True
    assert np.array_equal(canvas.pixels != 0, expected)


def test_draws_are_uniform_and_repeatable():
    draws = Draws([7])
    numbers = np.array([draws.uniform() for _ in range(4000)])
    assert numbers.min() >= 0.0 and numbers.max() < 1.0 and abs(numbers.mean() - 0.5) < 0.02
    assert [Draws([7]).uniform() for _ in range(2)] == [numbers[0]] * 2
