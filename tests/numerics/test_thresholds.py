"""Radix thresholds against sorting, to the bit, and the degenerate cases."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.numerics.thresholds import (
    Ranks,
    ThresholdRule,
    Thresholds,
    count_high,
    count_low,
    locate,
    pseudo_label,
    thresholds,
)
from pipeline.numerics.winner import winner


def table_of(rule: ThresholdRule) -> torch.Tensor:
    return torch.zeros(rule.rows, 65536, dtype=torch.int64)


def high_of(images: list[torch.Tensor], rule: ThresholdRule) -> torch.Tensor:
    table = table_of(rule)
    for image in images:
        count_high(table, *winner(image), rule)
    return table


def low_of(images: list[torch.Tensor], rule: ThresholdRule, ranks: Ranks) -> torch.Tensor:
    table = table_of(rule)
    for image in images:
        count_low(table, *winner(image), rule, ranks)
    return table


def streamed(images: list[torch.Tensor], rule: ThresholdRule, parts: int = 1) -> Thresholds:
    """Both passes, each part summed for itself and the parts merged in reverse."""
    chunks = [images[part::parts] for part in range(parts)][::-1]
    ranks = locate(sum((high_of(chunk, rule) for chunk in chunks), table_of(rule)), rule)
    return thresholds(ranks, sum((low_of(chunk, rule, ranks) for chunk in chunks), table_of(rule)), rule)


def sorted_thresholds(images: list[torch.Tensor], rule: ThresholdRule) -> np.ndarray:
    """The obvious way: collect all values, sort, take the rank-th largest."""
    samples: list[list[np.ndarray]] = [[] for _ in range(rule.num_classes)]
    for image in images:
        array = image.numpy()
        label, best = array.argmax(0).ravel(), array.max(0).ravel()
        for index in range(rule.num_classes):
            samples[index].append(best[label == index][:: rule.stride])
    pools = [np.concatenate(sample) for sample in samples]
    if rule.scope == "global":
        pools = [np.concatenate(pools)]
    values = []
    for pool in pools:
        full = np.sort(pool)[::-1]
        rank = math.floor(len(full) * rule.portion)
        value = full[rank - 1] if rank else np.float32(1.0)
        value = value if value > 0 else np.float32(1.0)
        values.append(min(value, np.float32(rule.cap)) if rule.cap is not None else value)
    return np.broadcast_to(np.array(values, dtype=np.float32), (rule.num_classes,))


FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.5, np.float32(1e-45), -0.16, 1.16, 3e38, -3e38]),
    st.floats(-2, 2, width=32),
)
RULES = st.builds(
    ThresholdRule,
    num_classes=st.just(3),
    portion=st.one_of(st.sampled_from([0.0, 0.2, 0.34, 0.5, 1.0]), st.floats(0, 1)),
    scope=st.sampled_from(["class", "global"]),
    stride=st.sampled_from([1, 2, 4]),
    cap=st.sampled_from([None, 0.9]),
)


@settings(max_examples=60, deadline=None)
@given(
    arrays=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
            lambda shape: hnp.arrays(np.float32, (3, *shape), elements=FLOATS)
        ),
        min_size=1,
        max_size=4,
    ),
    rule=RULES,
    parts=st.integers(1, 4),
)
def test_bit_identical_to_sorting_for_any_scores_rule_and_parts(
    arrays: list[np.ndarray], rule: ThresholdRule, parts: int
) -> None:
    images = [torch.from_numpy(array.copy()) for array in arrays]
    found = streamed(images, rule, parts).values.numpy()
    assert found.tobytes() == sorted_thresholds(images, rule).tobytes()


def softmax_images(count: int, seed: int, classes: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.softmax(3 * torch.randn(classes, 16, 24, generator=generator), 0) for _ in range(count)]


@pytest.mark.parametrize(("scope", "stride"), list(product(["class", "global"], [1, 4])))
def test_bit_identical_on_probabilities(scope: str, stride: int) -> None:
    images = softmax_images(5, 1)
    rule = ThresholdRule(5, 0.2, scope=scope, stride=stride)  # type: ignore[arg-type]
    assert np.array_equal(streamed(images, rule, 3).values.numpy(), sorted_thresholds(images, rule))


def test_order_of_images_changes_nothing() -> None:
    images = softmax_images(4, 2)
    rule = ThresholdRule(5, 0.35)
    assert torch.equal(streamed(images, rule).values, streamed(images[::-1], rule, 2).values)


def test_overshooting_scores_outside_zero_to_one_are_counted_exactly() -> None:
    image = torch.tensor([1.16, 1.01, 0.4, -0.05]).view(1, 2, 2)
    assert streamed([image], ThresholdRule(1, 0.5)).values.tolist() == [pytest.approx(1.01)]
    assert streamed([image], ThresholdRule(1, 0.75)).values.tolist() == [pytest.approx(0.4)]


def test_class_never_predicted_gets_threshold_one() -> None:
    image = torch.tensor([[0.6, 0.7], [0.3, 0.2], [0.1, 0.1]]).view(3, 1, 2)
    found = streamed([image], ThresholdRule(3, 1.0))
    assert found.counts == (2, 0, 0) and found.ranks == (2, 0, 0)
    assert found.values.tolist() == pytest.approx([0.6, 1.0, 1.0])


@pytest.mark.parametrize(("portion", "expected"), [(0.5, 1.0), (1.0, 0.75)])
def test_class_of_one_pixel(portion: float, expected: float) -> None:
    image = torch.tensor([[0.75], [0.25]]).view(2, 1, 1)
    found = streamed([image], ThresholdRule(2, portion))
    assert found.values.tolist() == [expected, 1.0]
    kept = pseudo_label(image, found.values)
    assert kept.tolist() == ([[0]] if portion == 1.0 else [[255]])


def test_portion_one_keeps_every_pixel() -> None:
    images = softmax_images(3, 3)
    values = streamed(images, ThresholdRule(5, 1.0)).values
    assert all(int((pseudo_label(image, values) == 255).sum()) == 0 for image in images)


def test_portion_zero_keeps_no_pixel() -> None:
    images = softmax_images(2, 4)
    found = streamed(images, ThresholdRule(5, 0.0))
    assert found.values.tolist() == [1.0] * 5 and sum(found.ranks) == 0
    assert all(bool((pseudo_label(image, found.values) == 255).all()) for image in images)


@pytest.mark.parametrize("scope", ["class", "global"])
def test_rank_zero_gives_one_and_does_not_wrap_to_the_smallest_value(scope: str) -> None:
    image = torch.tensor([0.9, 0.6, 0.7]).view(1, 1, 3)
    found = streamed([image], ThresholdRule(1, 0.3, scope=scope))  # type: ignore[arg-type]
    assert found.ranks == (0,) and found.values.tolist() == [1.0]


def test_the_rank_is_rounded_down_and_no_zero_is_added_to_the_sample() -> None:
    image = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]).view(1, 1, 5)
    assert streamed([image], ThresholdRule(1, 0.5)).ranks == (2,)
    assert streamed([image], ThresholdRule(1, 1.0)).values.tolist() == [0.5]


def test_stride_restarts_in_each_class_and_image() -> None:
    image = torch.zeros(2, 1, 6)
    image[0, 0] = torch.tensor([0.9, 0.0, 0.8, 0.7, 0.0, 0.6])
    image[1, 0] = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.4, 0.0])
    rule = ThresholdRule(2, 1.0, stride=2)
    found = streamed([image, image], rule)
    assert found.counts == (4, 2)
    assert found.values.tolist() == pytest.approx([0.7, 0.5])


def test_capped_percentile_is_portion_34_with_a_cap() -> None:
    confidence = torch.linspace(0.5, 0.999, 100)
    image = torch.stack([confidence, 1 - confidence]).view(2, 10, 10)
    assert streamed([image], ThresholdRule(2, 0.34)).values[0] == confidence.sort(descending=True).values[33]
    sure = torch.stack([0.95 + 0.0 * confidence, 0.05 + 0.0 * confidence]).view(2, 10, 10)
    assert streamed([sure], ThresholdRule(2, 0.34, cap=0.9)).values.tolist() == pytest.approx([0.9, 0.9])


def test_an_image_counts_the_same_among_few_pixels_and_among_many() -> None:
    rule = ThresholdRule(2, 0.5)
    scores = torch.softmax(torch.randn(2, 200, 200, generator=torch.Generator().manual_seed(8)), 0)
    scores[0, :50] = 0.75  # one value many times
    large, small = high_of([scores], rule), high_of(list(scores.split(1, dim=1)), rule)
    assert large.equal(small) and int(large.sum()) == 200 * 200
    ranks = locate(large, rule)
    assert low_of([scores], rule, ranks).equal(low_of(list(scores.split(1, dim=1)), rule, ranks))


def test_passes_that_saw_different_scores_are_an_error() -> None:
    images = softmax_images(1, 5)
    rule = ThresholdRule(5, 0.3)
    ranks = locate(high_of(images, rule), rule)
    other = low_of(softmax_images(1, 6), rule, ranks)
    with pytest.raises(ValueError, match="same way"):
        thresholds(ranks, other, rule)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.nan])
def test_a_score_that_is_not_finite_is_an_error(bad: float) -> None:
    image = torch.full((2, 2, 2), 0.5)
    image[1, 1, 1] = bad
    rule = ThresholdRule(2, 0.5)
    with pytest.raises(ValueError, match="not finite"):
        locate(high_of([image], rule), rule)


def test_all_minus_infinity_is_an_error() -> None:
    rule = ThresholdRule(2, 0.5)
    with pytest.raises(ValueError, match="not finite"):
        locate(high_of([torch.full((2, 1, 1), -math.inf)], rule), rule)


def test_no_images_at_all_gives_ones() -> None:
    rule = ThresholdRule(3, 0.5)
    zero = torch.zeros(3, 65536, dtype=torch.int64)
    assert thresholds(locate(zero, rule), zero, rule).values.tolist() == [1.0, 1.0, 1.0]


def test_carried_state_for_19_classes_is_below_25_megabytes() -> None:
    image = torch.softmax(torch.randn(19, 4, 4, generator=torch.Generator().manual_seed(7)), 0)
    rule = ThresholdRule(19, 0.5)
    high = high_of([image], rule)
    low = low_of([image], rule, locate(high, rule))
    assert high.dtype == low.dtype == torch.int64
    assert high.nbytes + low.nbytes <= 20e6


def test_wrong_inputs_are_errors() -> None:
    rule = ThresholdRule(2, 0.5)
    with pytest.raises(ValueError, match="float32"):
        high_of([torch.zeros(2, 1, 1, dtype=torch.float64)], rule)
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        count_high(table_of(rule), torch.zeros(3, 1), torch.zeros(1, 3, dtype=torch.uint8), rule)
    with pytest.raises(ValueError, match="pass-1"):
        locate(torch.zeros(3, 65536, dtype=torch.int64), rule)
    for arguments in ({"portion": 1.5}, {"portion": math.nan}, {"portion": 0.5, "stride": 0}):
        with pytest.raises(ValueError):
            ThresholdRule(2, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"scope": "kc"}, {"cap": 0.0}, {"cap": math.nan}])
def test_unknown_threshold_setting_is_an_error_and_never_keeps_all_labels(option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"unknown|cap"):
        ThresholdRule(2, 0.5, **option)  # type: ignore[arg-type]


def slow_label(scores: torch.Tensor, values: torch.Tensor) -> list[list[int]]:
    array, limits = scores.numpy(), values.numpy()
    rows = []
    for y in range(array.shape[1]):
        row = []
        for x in range(array.shape[2]):
            quotients = [array[k, y, x] / limits[k] for k in range(len(limits))]
            best = max(range(len(quotients)), key=lambda k: (quotients[k], -k))
            row.append(best if quotients[best] >= 1 else 255)
        rows.append(row)
    return rows


@settings(max_examples=30, deadline=None)
@given(
    scores=hnp.arrays(np.float32, (3, 2, 4), elements=st.floats(0, 1, width=32)),
    values=hnp.arrays(np.float32, (3,), elements=st.floats(np.float32(1e-3), 1, width=32)),
)
def test_label_is_the_argmax_of_the_normalised_score(scores: np.ndarray, values: np.ndarray) -> None:
    maps, limits = torch.from_numpy(scores.copy()), torch.from_numpy(values.copy())
    assert pseudo_label(maps, limits).tolist() == slow_label(maps, limits)


def test_label_may_differ_from_the_plain_argmax_and_first_class_wins_ties() -> None:
    scores = torch.tensor([[0.6, 0.5], [0.4, 0.5]]).view(2, 1, 2)
    assert pseudo_label(scores, torch.tensor([0.6, 0.2])).tolist() == [[1, 1]]
    assert pseudo_label(scores, torch.tensor([0.5, 0.5])).tolist() == [[0, 0]]
    assert winner(scores)[1].tolist() == [[0, 0]]


@settings(max_examples=200, deadline=None)
@given(score=st.floats(np.float32(1e-6), 2, width=32), threshold=st.floats(np.float32(1e-6), 1, width=32))
def test_quotient_reaches_one_exactly_where_score_reaches_threshold(score: float, threshold: float) -> None:
    near = np.nextafter(np.float32(threshold), np.float32(0))
    for value in (score, threshold, float(near)):
        kept = pseudo_label(torch.full((1, 1, 1), value), torch.tensor([threshold])).item() == 0
        assert kept == (value >= threshold)


def test_at_least_the_ranked_pixels_are_kept() -> None:
    images = softmax_images(4, 8)
    found = streamed(images, ThresholdRule(5, 0.2))
    kept = sum(int((pseudo_label(image, found.values) != 255).sum()) for image in images)
    assert sum(found.ranks) <= kept < sum(found.counts)


def test_pixels_equal_to_the_threshold_are_kept() -> None:
    image = torch.tensor([0.7, 0.7, 0.7, 0.2]).view(1, 2, 2)
    found = streamed([image], ThresholdRule(1, 0.25))
    assert found.ranks == (1,)
    assert pseudo_label(image, found.values).tolist() == [[0, 0], [0, 255]]


@pytest.mark.parametrize("values", [[0.5, 0.0], [0.5, -0.1], [0.5, math.nan], [0.5]])
def test_thresholds_that_cannot_divide_are_an_error(values: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        pseudo_label(torch.zeros(2, 1, 1), torch.tensor(values))


def test_ranks_name_the_bin_and_what_remains_in_it() -> None:
    image = torch.tensor([0.5, 0.5, 0.25, 0.25]).view(1, 2, 2)
    rule = ThresholdRule(1, 0.75)
    half, quarter = 0x8000 + 0x3F00, 0x8000 + 0x3E80
    ranks = locate(high_of([image], rule), rule)
    assert half > quarter
    assert ranks == Ranks((4,), (3,), (quarter,), (1,), (2,))
