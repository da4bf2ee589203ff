"""Confusion counts against a loop, and the metrics against hand-computed values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.numerics.confusion import confusion_counts, confusion_matrix, iou_table, percent


def matrix_of(prediction: torch.Tensor, label: torch.Tensor, num_classes: int) -> torch.Tensor:
    return confusion_matrix(confusion_counts(prediction, label, num_classes))


def slow_matrix(prediction: torch.Tensor, label: torch.Tensor, num_classes: int) -> torch.Tensor:
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for truth, guess in zip(label.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if 0 <= truth < num_classes:
            matrix[truth, guess] += 1
    return matrix


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), num_classes=st.integers(1, 6), parts=st.integers(1, 5))
def test_equals_a_loop_and_adds_over_any_parts(seed: int, num_classes: int, parts: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(-1, num_classes + 2, (6, 5, 4), generator=generator)
    prediction = torch.randint(0, num_classes, (6, 5, 4), generator=generator)
    whole = matrix_of(prediction, label, num_classes)
    assert torch.equal(whole, slow_matrix(prediction, label, num_classes))
    split = [
        matrix_of(p, t, num_classes) for p, t in zip(prediction.chunk(parts), label.chunk(parts), strict=True)
    ]
    assert torch.equal(whole, torch.stack(split[::-1]).sum(0))


def test_rows_are_truth_and_columns_prediction() -> None:
    matrix = matrix_of(torch.tensor([2, 2, 0]), torch.tensor([1, 1, 0]), 3)
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_uint8_maps_with_many_classes_do_not_overflow() -> None:
    matrix = matrix_of(
        torch.full((3,), 199, dtype=torch.uint8), torch.full((3,), 198, dtype=torch.uint8), 200
    )
    assert matrix[198, 199] == 3 and matrix.sum() == 3


@pytest.mark.parametrize("bad", [3, 255, -1])
@pytest.mark.parametrize("truth", [0, 255])
def test_prediction_outside_the_classes_is_an_error_not_another_cell(bad: int, truth: int) -> None:
    with pytest.raises(ValueError, match=r"1 predicted pixels are outside the classes 0\.\.2"):
        matrix_of(torch.tensor([0, bad]), torch.tensor([0, truth]), 3)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        matrix_of(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), 2)


def test_all_ignored_gives_zeros() -> None:
    assert matrix_of(torch.zeros(4, dtype=torch.int64), torch.full((4,), 255), 2).sum() == 0


def test_counts_of_uint8_maps_are_those_of_wider_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 256, (40, 50), generator=generator)
    prediction = torch.randint(0, 19, (40, 50), generator=generator)
    narrow = confusion_counts(prediction.to(torch.uint8), label.to(torch.uint8), 19)
    assert torch.equal(narrow, confusion_counts(prediction, label, 19))
    assert narrow.sum() == 40 * 50


def test_counting_waits_for_no_device() -> None:
    """On the meta device, which has no values, reading one on the host is an error."""
    maps = torch.zeros(8, 8, dtype=torch.uint8, device="meta")
    assert confusion_counts(maps, maps, 19).shape == (20, 20)


HAND = torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]])


def test_hand_computed_table() -> None:
    table = iou_table(HAND)
    assert table.iou[:2] == pytest.approx((3 / 6, 4 / 7))
    assert table.dice[:2] == pytest.approx((6 / 9, 8 / 11))
    assert table.pixel_accuracy == pytest.approx(0.7)
    assert table.pixels == 10


def test_absent_class_is_reported_by_both_means_and_a_count() -> None:
    table = iou_table(HAND)
    assert math.isnan(table.iou[2]) and math.isnan(table.dice[2])
    assert table.miou_present == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert table.miou_zero == pytest.approx((3 / 6 + 4 / 7) / 3)
    assert table.absent == 1


def test_class_predicted_but_never_true_is_present_with_zero() -> None:
    table = iou_table(torch.tensor([[1, 1], [0, 0]]))
    assert table.iou == (0.5, 0.0) and table.absent == 0 and table.miou_present == 0.25


def test_subset_means_come_from_the_same_matrix() -> None:
    table = iou_table(HAND, {"first": [0], "last": [1, 2], "nothing": [2]})
    assert table.subsets["first"].present == pytest.approx(0.5)
    assert table.subsets["last"].present == pytest.approx(4 / 7)
    assert table.subsets["last"].zero == pytest.approx(2 / 7)
    assert table.subsets["last"].absent == 1
    assert math.isnan(table.subsets["nothing"].present) and table.subsets["nothing"].zero == 0.0


def test_an_empty_matrix_has_no_accuracy() -> None:
    table = iou_table(np.zeros((2, 2), dtype=np.int64))
    assert math.isnan(table.pixel_accuracy) and math.isnan(table.miou_present)
    assert table.miou_zero == 0.0 and table.absent == 2 and table.pixels == 0


def test_one_pixel() -> None:
    table = iou_table(matrix_of(torch.tensor([1]), torch.tensor([1]), 2))
    assert table.pixel_accuracy == 1.0 and table.iou[1] == 1.0 and table.absent == 1


def test_float64_keeps_large_counts_apart() -> None:
    big = 10**12
    table = iou_table(torch.tensor([[big, 1], [0, big]]))
    assert table.iou[0] == big / (big + 1) < 1.0


def test_a_matrix_must_be_square() -> None:
    with pytest.raises(ValueError, match="square"):
        iou_table(np.zeros((2, 3), dtype=np.int64))


def test_percent_has_two_decimals_and_no_nan() -> None:
    assert percent(0.43754) == 43.75
    assert percent(math.nan) is None
