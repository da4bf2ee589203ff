"""Portion schedules, source subsets and class-balanced image selection."""

import math

import pytest
import torch

from pipeline.numerics.portions import (
    class_balanced_score,
    class_confidence,
    select_class_balanced,
    source_subset,
    subset_size,
)
from pipeline.numerics.schedules import portion
from pipeline.numerics.winner import winner

NAMES = [f"image{i:03d}" for i in range(200)]


@pytest.mark.parametrize(
    ("start", "step", "maximum", "expected"),
    [
        (0.20, 0.05, 0.50, [0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.50, 0.50]),
        (0.15, 0.05, 0.50, [0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.50]),
        (0.03, 0.0025, 0.06, [0.03, 0.0325, 0.035, 0.0375, 0.04, 0.0425]),
    ],
)
def test_portion_is_exact_in_every_round_and_never_above_the_maximum(
    start: float, step: float, maximum: float, expected: list[float]
) -> None:
    assert [portion(r, start, step, maximum) for r in range(len(expected))] == expected


def test_portion_zero_and_one() -> None:
    assert portion(3, 0.0, 0.0, 1.0) == 0.0
    assert portion(0, 1.0, 0.5, 1.0) == portion(9, 1.0, 0.5, 1.0) == 1.0
    assert portion(0, 0.6, 0.1, 0.5) == 0.5


@pytest.mark.parametrize("arguments", [(-1, 0.2, 0.05, 0.5), (0, 1.2, 0.05, 0.5), (0, 0.2, -0.1, 0.5)])
def test_impossible_portions_are_errors(arguments: tuple[int, float, float, float]) -> None:
    with pytest.raises(ValueError, match="portion needs"):
        portion(*arguments)


def test_subset_sizes_of_the_published_runs() -> None:
    assert subset_size(24_966, 0.03) == 748
    assert subset_size(9_400, 0.02) == 188
    assert subset_size(5, 0.1) == 0
    assert subset_size(5, 1.0) == 5
    with pytest.raises(ValueError, match="share"):
        subset_size(5, 1.5)


def test_nested_subsets_grow_and_random_ones_change() -> None:
    nested = [source_subset(NAMES, share, 7, r) for r, share in enumerate((0.1, 0.15, 0.2))]
    assert [len(part) for part in nested] == [20, 30, 40]
    assert nested[1][:20] == nested[0] and nested[2][:30] == nested[1]
    random = [source_subset(NAMES, 0.1, 7, r, "random") for r in range(2)]
    assert set(random[0]) != set(random[1]) and set(random[0]) != set(nested[0])


def test_subset_is_a_function_of_its_arguments_without_replacement() -> None:
    drawn = source_subset(NAMES, 0.5, 3, 1)
    assert drawn == source_subset(list(NAMES), 0.5, 3, 1)
    assert drawn != source_subset(NAMES, 0.5, 4, 1)
    assert len(set(drawn)) == 100 and set(drawn) < set(NAMES)


def test_one_or_zero_selected_source_images_stay_a_list() -> None:
    one = source_subset(NAMES, 0.005, 1, 0)
    assert isinstance(one, list) and len(one) == 1 and one[0] in NAMES
    assert source_subset(NAMES, 0.001, 1, 0) == []
    assert source_subset(["only"], 1.0, 1, 0) == ["only"]


def test_unknown_drawing_is_an_error() -> None:
    with pytest.raises(ValueError, match="drawing"):
        source_subset(NAMES, 0.1, 1, 0, "cumulative")  # type: ignore[arg-type]


def test_class_confidence_against_a_loop() -> None:
    scores = torch.softmax(torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1)), 0)
    scores[3] = 0.0
    expected_sums, expected_counts = [0.0] * 4, [0] * 4
    for y in range(5):
        for x in range(6):
            c = max(range(4), key=lambda k: (scores[k, y, x].item(), -k))
            expected_sums[c] += scores[c, y, x].item()
            expected_counts[c] += 1
    sums, counts = class_confidence(*winner(scores), 4)
    assert counts.tolist() == expected_counts and counts.dtype == torch.int64
    assert sums.dtype == torch.float64
    assert sums.tolist() == pytest.approx(expected_sums)


def test_class_balanced_score_weighs_classes_alike() -> None:
    assert class_balanced_score([90.0, 0.5, 0.0], [100, 1, 0]) == pytest.approx((0.9 + 0.5) / 2)
    assert class_balanced_score([0.0, 0.0], [0, 0]) == 0.0


def test_class_balanced_selection_of_cityscapes_size() -> None:
    names = [f"{i:04d}" for i in range(2975)]
    chosen = select_class_balanced(names, [i / 2975 for i in range(2975)])
    assert len(chosen) == 505 and chosen[0] == "2974"


def test_class_balanced_selection_ties_by_name_and_one_image() -> None:
    assert select_class_balanced(["c", "a", "b"], [0.5, 0.5, 0.9], 0.7) == ["b", "a"]
    assert select_class_balanced(["only"], [0.1]) == ["only"]
    assert select_class_balanced([], []) == []
    with pytest.raises(ValueError, match="NaN"):
        select_class_balanced(["a"], [math.nan])
