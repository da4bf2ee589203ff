"""Label-free snapshot scores: values, additivity to the bit, ties."""

import math

import pytest
import torch

from pipeline.numerics.selection import (
    PredictionSums,
    as_sums,
    highest,
    information_maximisation,
    mean_entropy,
    oracle_best,
    prediction_totals,
)

LOGITS = 2 * torch.randn(6, 4, 5, 7, generator=torch.Generator().manual_seed(1))


def prediction_sums(logits: torch.Tensor) -> PredictionSums:
    """All images of a batch together."""
    images = as_sums(prediction_totals(logits), [logits[0, 0].numel()] * len(logits))
    return sum(images[1:], images[0])


def slow_scores(logits: torch.Tensor) -> tuple[float, float]:
    p = torch.softmax(logits.double(), dim=1).permute(0, 2, 3, 1).reshape(-1, logits.shape[1])
    entropy = float((-(p * p.log()).sum(1)).mean()) / math.log(logits.shape[1])
    mean = p.mean(0)
    return entropy, float(-(mean * mean.log()).sum()) / math.log(logits.shape[1]) - entropy


def test_scores_against_the_definition() -> None:
    sums = prediction_sums(LOGITS)
    entropy, information = slow_scores(LOGITS)
    assert mean_entropy(sums) == pytest.approx(entropy, abs=1e-7)
    assert information_maximisation(sums) == pytest.approx(information, abs=1e-7)


@pytest.fixture
def one_thread():
    """Several threads cut a map for torch's softmax where a batch of another size is not cut."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 3, 1, 0, 2, 4)])
def test_sums_merge_to_the_same_bits_in_any_order_and_batch(order: tuple[int, ...]) -> None:
    whole = prediction_sums(LOGITS)
    merged = PredictionSums(0, 0, (0,) * 4)
    for i in order:
        merged = merged + prediction_sums(LOGITS[i : i + 1])
    assert merged == whole == prediction_sums(LOGITS[:2]) + prediction_sums(LOGITS[2:])


def test_totals_of_strips_are_those_of_the_image() -> None:
    strips = torch.stack([prediction_totals(strip) for strip in LOGITS.split(2, dim=2)]).sum(dim=0)
    torch.testing.assert_close(strips, prediction_totals(LOGITS), rtol=1e-6, atol=0)


def test_images_of_different_size_weigh_by_their_pixels() -> None:
    small, large = LOGITS[:1, :, :1, :1], LOGITS[1:2]
    pixels = torch.cat([small.flatten(2), large.flatten(2)], dim=2).unsqueeze(3)
    assert mean_entropy(prediction_sums(small) + prediction_sums(large)) == pytest.approx(
        slow_scores(pixels)[0], abs=1e-7
    )


def test_collapse_to_one_class_has_low_entropy_but_no_information() -> None:
    collapsed = torch.zeros(1, 3, 4, 4)
    collapsed[:, 1] = 50.0
    healthy = 50.0 * torch.nn.functional.one_hot(torch.arange(16) % 3, 3).T.reshape(1, 3, 4, 4).float()
    assert mean_entropy(prediction_sums(collapsed)) == pytest.approx(0.0, abs=1e-9)
    assert mean_entropy(prediction_sums(healthy)) == pytest.approx(0.0, abs=1e-9)
    assert information_maximisation(prediction_sums(collapsed)) == pytest.approx(0.0, abs=1e-9)
    assert information_maximisation(prediction_sums(healthy)) > 0.99


def test_one_pixel_has_no_information() -> None:
    assert information_maximisation(prediction_sums(LOGITS[:1, :, :1, :1])) == pytest.approx(0.0, abs=1e-7)


def test_no_pixel_or_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        mean_entropy(PredictionSums(0, 0, (0, 0)))
    with pytest.raises(ValueError, match="not finite"):
        prediction_sums(torch.full((1, 2, 1, 1), math.nan))
    with pytest.raises(ValueError):
        PredictionSums(1, 0, (0, 0)) + PredictionSums(1, 0, (0, 0, 0))


def test_label_free_ties_go_to_the_later_snapshot() -> None:
    assert highest([10, 20, 30], [0.5, 0.7, 0.7]) == 30


def test_oracle_compares_after_rounding_and_takes_the_first() -> None:
    assert oracle_best([10, 20, 30], [0.40001, 0.40004, 0.30]) == 10
    assert oracle_best([10, 20, 30], [0.40001, 0.40016, 0.30]) == 20


@pytest.mark.parametrize(
    ("steps", "scores"), [([], []), ([1], [0.1, 0.2]), ([2, 1], [0.1, 0.2]), ([1, 2], [0.1, math.nan])]
)
def test_selection_refuses_what_cannot_be_compared(steps: list[int], scores: list[float]) -> None:
    for choose in (highest, oracle_best):
        with pytest.raises(ValueError):
            choose(steps, scores)
