"""Colors of classes: known by name, clearly different otherwise, never three alike."""

import itertools

import numpy as np
import pytest
from shipped import CONFIG, LIBRARY

from pipeline.datasets.class_colors import ALIKE, class_colors, known_color, lab


def distances(colors):
    """CIE Lab distance of every pair, (N, N)."""
    values = lab(colors)
    return np.linalg.norm(values[:, None] - values[None], axis=2)


def alike(colors):
    """Triples of colors of which each looks like both others."""
    near = distances(colors) < ALIKE
    return [one for one in itertools.combinations(range(len(colors)), 3) if near[np.ix_(one, one)].all()]


def test_lab_of_known_values():
    """White, black and the pure colors of sRGB under D65, as published."""
    expected = [
        (100, 0, 0),
        (0, 0, 0),
        (53.24, 80.09, 67.20),
        (87.73, -86.18, 83.18),
        (32.30, 79.19, -107.86),
    ]
    found = lab([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("count", [2, 11, 40])
def test_classes_without_telling_names_get_clearly_different_colors(count):
    found = distances(class_colors([f"class_{number}" for number in range(count)]))
    assert found[~np.eye(count, dtype=bool)].min() > 25


def test_names_and_their_synonyms_have_the_color_that_people_expect():
    assert class_colors(["sky", "road", "tree"]) == [(70, 130, 180), (128, 64, 128), (90, 140, 35)]
    for name, other in (("Trees", "vegetation"), ("Traffic_Signs", "sign"), ("parked car", "vehicles")):
        assert known_color(name) == known_color(other) is not None
    assert known_color("class_7") is None


def test_two_classes_of_one_known_color_are_told_apart():
    street, road, unknown = class_colors(["street", "road", "gadget"])
    assert street == known_color("road")
    assert distances([street, road, unknown])[~np.eye(3, dtype=bool)].min() > 25


def test_colors_of_label_files_are_kept_unless_three_look_alike():
    own = [(10, 10, 10), (12, 12, 12), (14, 14, 14), (200, 0, 0)]
    found = class_colors(["a", "b", "c", "d"], own)
    assert found[:2] == own[:2] and found[3] == own[3]
    assert found[2] != own[2] and not alike(found)
    assert alike(own)


@pytest.mark.parametrize("path", sorted((CONFIG / "taxonomies").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_three_colors_of_a_shipped_taxonomy_look_alike(path):
    colors = [entry.color for entry in LIBRARY.taxonomy(path.stem, "test").classes]
    assert alike(colors) == []
