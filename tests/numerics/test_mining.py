"""Choice of mined classes, and crops that show them."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.numerics.mining import mined_crop_origin, mining_classes


def below(seed: int = 1) -> Callable[[int], int]:
    generator = np.random.default_rng(seed)
    return lambda count: int(generator.integers(count))


def test_three_smallest_by_true_counts_not_the_first_three() -> None:
    """With equal sizes for all classes, as in ST mode, the rule would degenerate to classes 0, 1, 2."""
    assert mining_classes([900, 800, 700, 5, 600, 20, 10]) == [3, 6, 5]


def test_mining_happens_even_if_no_class_is_below_a_thousandth() -> None:
    assert mining_classes([40, 30, 20, 10]) == [3, 2, 1]


def test_ties_go_to_the_lower_id() -> None:
    assert mining_classes([7, 7, 7, 7], number=2) == [0, 1]


def test_priority_classes_come_first_and_all_of_them() -> None:
    counts = [100, 50, 10, 5, 1]
    assert mining_classes(counts, priority=[0]) == [0, 4, 3]
    assert mining_classes(counts, number=1, priority=[1, 0]) == [1, 0]


def test_class_without_pixels_is_not_mined() -> None:
    assert mining_classes([0, 9, 0, 3], priority=[2]) == [3, 1]
    assert mining_classes([0, 0]) == []


def test_impossible_counts_or_ids_are_errors() -> None:
    for arguments in (([-1, 2],), ([1, 2], 3, [2])):
        with pytest.raises(ValueError, match="mining needs"):
            mining_classes(*arguments)  # type: ignore[arg-type]


def test_crop_is_centred_on_a_pixel_of_the_class_with_integer_edges() -> None:
    label = np.zeros((20, 30), np.uint8)
    label[11, 14] = 4
    origin = mined_crop_origin(label, [4], (7, 5), below())
    assert origin == (11, 9)
    assert all(type(edge) is int for edge in origin)


@pytest.mark.parametrize(
    ("pixel", "origin"), [((0, 0), (0, 0)), ((19, 29), (22, 14)), ((19, 0), (0, 14)), ((10, 15), (11, 7))]
)
def test_crop_is_shifted_inside_the_picture(pixel: tuple[int, int], origin: tuple[int, int]) -> None:
    label = np.zeros((20, 30), np.uint8)
    label[pixel] = 1
    assert mined_crop_origin(label, [1], (8, 6), below()) == origin


def test_crop_larger_than_the_picture_starts_at_zero() -> None:
    assert mined_crop_origin(np.ones((4, 5), np.uint8), [1], (9, 9), below()) == (0, 0)


def test_every_crop_shows_the_class_that_is_drawn() -> None:
    label = np.random.default_rng(2).choice(
        np.array([0, 3, 255], np.uint8), p=[0.97, 0.02, 0.01], size=(24, 32)
    )
    draw = below(2)
    for _ in range(50):
        x, y = mined_crop_origin(label, [3], (6, 6), draw) or (-1, -1)
        assert 0 <= x <= 26 and 0 <= y <= 18
        assert (label[y : y + 6, x : x + 6] == 3).any()


def test_classes_are_drawn_uniformly_however_few_their_pixels() -> None:
    label = np.zeros((1, 1001), np.uint8)
    label[0, 1:] = 1
    draw = below(3)
    lefts = [(mined_crop_origin(label, [0, 1], (1, 1), draw) or (-1, -1))[0] for _ in range(2000)]
    assert 900 < lefts.count(0) < 1100


def test_pixels_are_drawn_uniformly() -> None:
    label = np.ones((1, 4), np.uint8)
    draw = below(4)
    lefts = [(mined_crop_origin(label, [1], (1, 1), draw) or (-1, -1))[0] for _ in range(4000)]
    assert all(850 < lefts.count(x) < 1150 for x in range(4))


def test_no_mined_class_present_gives_none_and_draws_nothing() -> None:
    draw = below(5)
    assert mined_crop_origin(np.full((3, 3), 255, np.uint8), [0, 1], (2, 2), draw) is None
    assert mined_crop_origin(np.zeros((3, 3), np.uint8), [], (2, 2), draw) is None
    assert draw(1 << 30) == below(5)(1 << 30)


def test_same_numbers_give_the_same_crop() -> None:
    label = np.random.default_rng(6).integers(0, 5, size=(16, 16)).astype(np.uint8)
    assert mined_crop_origin(label, [1, 2], (4, 4), below(7)) == mined_crop_origin(
        label, [2, 1], (4, 4), below(7)
    )
