"""CRST regularisers: values and gradients in closed form, and the limit that gives CBST."""

import math

import pytest
import torch

from pipeline.numerics.confidence_regularisers import (
    MODEL_REGULARISERS,
    lrent_soft_labels,
    mrent,
    mrkld,
    mrl2,
    regulariser_sum,
    soft_cross_entropy_sum,
)
from pipeline.numerics.thresholds import pseudo_label
from pipeline.numerics.upsampled_cross_entropy import upsampled_cross_entropy_sum

GENERATOR = torch.Generator().manual_seed(1)
LOGITS = 2 * torch.randn(2, 5, 3, 4, generator=GENERATOR)
LABELS = torch.randint(0, 5, (2, 3, 4), generator=GENERATOR)
LABELS[0, 0] = 255


def probabilities() -> torch.Tensor:
    return torch.softmax(LOGITS.double(), 1)


def test_values_against_the_definition() -> None:
    p = probabilities()
    torch.testing.assert_close(mrkld(LOGITS).double(), -p.log().sum(1) / 5, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mrent(LOGITS).double(), (p * p.log()).sum(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mrl2(LOGITS).double(), (p * p).sum(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(MODEL_REGULARISERS))
def test_gradients_against_the_closed_forms(name: str) -> None:
    p = probabilities()
    closed = {
        "mrkld": p - 1 / 5,
        "mrent": p * (p.log() - (p * p.log()).sum(1, keepdim=True)),
        "mrl2": 2 * p * (p - (p * p).sum(1, keepdim=True)),
    }[name]
    logits = LOGITS.clone().requires_grad_()
    MODEL_REGULARISERS[name](logits).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.double(), closed, rtol=1e-4, atol=1e-6)


def test_every_regulariser_is_least_for_a_uniform_prediction() -> None:
    uniform = torch.zeros(1, 5, 1, 1)
    for name, function in MODEL_REGULARISERS.items():
        assert bool((function(LOGITS) > function(uniform)).all()), name


def test_mrkld_is_uniform_label_smoothing() -> None:
    alpha, classes = 0.1, 5
    eps = alpha * (classes - 1) / (classes * (1 + alpha))
    labels = torch.randint(0, 5, (2, 3, 4), generator=torch.Generator().manual_seed(2))
    ours = (
        upsampled_cross_entropy_sum(LOGITS, labels, True)[0]
        + alpha * regulariser_sum("mrkld", LOGITS, labels)[0]
    )
    one_hot = torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()
    smoothed = one_hot * (1 - eps) + (1 - one_hot) * eps / (classes - 1)
    expected = (1 + alpha) * -(smoothed * torch.log_softmax(LOGITS, 1)).sum()
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", sorted(MODEL_REGULARISERS))
def test_sum_acts_on_labelled_pixels_only(name: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    total, count = regulariser_sum(name, logits, LABELS)  # type: ignore[arg-type]
    total.backward()
    assert count.item() == 20
    assert total.item() == pytest.approx(
        float(MODEL_REGULARISERS[name](LOGITS)[LABELS != 255].sum()), rel=1e-5
    )
    assert logits.grad is not None
    assert not logits.grad[0, :, 0].any() and logits.grad[0, :, 1].any()


@pytest.mark.parametrize("name", sorted(MODEL_REGULARISERS))
def test_regulariser_of_ignored_pixels_only_is_a_differentiable_zero(name: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    total, count = regulariser_sum(name, logits, torch.full((2, 3, 4), 255))  # type: ignore[arg-type]
    total.backward()
    assert total.item() == 0.0 and count.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("name", sorted(MODEL_REGULARISERS))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_certain_half_precision_prediction_stays_finite(name: str, dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 3, 1, 1, dtype=dtype)
    logits[:, 1] = 3e4
    logits.requires_grad_()
    value = MODEL_REGULARISERS[name](logits)
    value.sum().backward()
    assert value.dtype == torch.float32
    assert bool(torch.isfinite(value).all()) and logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_regulariser_weight_is_not_applied_twice() -> None:
    """The sum carries no alpha at all; the one weight is the caller's."""
    total, count = regulariser_sum("mrkld", torch.zeros(1, 7, 1, 3), torch.zeros(1, 1, 3))
    assert (total / count).item() == pytest.approx(math.log(7))


THRESHOLDS = torch.tensor([0.5, 0.2, 0.4, 0.3, 0.6])


@pytest.mark.parametrize("alpha", [0.25, 1.0, 3.0])
def test_lrent_against_the_definition(alpha: float) -> None:
    soft, kept = lrent_soft_labels(torch.log_softmax(LOGITS, 1), THRESHOLDS, alpha)
    powers = (probabilities() / THRESHOLDS.double().view(1, -1, 1, 1)) ** (1 / alpha)
    total = powers.sum(1, keepdim=True)
    assert torch.equal(kept, total.squeeze(1) > 1)
    expected = torch.where(total > 1, powers / total, torch.zeros_like(powers))
    torch.testing.assert_close(soft.double(), expected, rtol=1e-4, atol=1e-6)


def test_lrent_with_alpha_towards_zero_is_cbst() -> None:
    p = torch.softmax(LOGITS, 1)
    soft, kept = lrent_soft_labels(p.log(), THRESHOLDS, 1e-4)
    for b in range(2):
        hard = pseudo_label(p[b], THRESHOLDS)
        assert torch.equal(kept[b], hard != 255)
        assert torch.equal(soft[b].argmax(0)[kept[b]], hard.long()[kept[b]])
        assert bool((soft[b].amax(0)[kept[b]] > 0.999).all())
    assert 0 < int(kept.sum()) < kept.numel()


def test_lrent_keeps_strictly_above_one() -> None:
    scores = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).log()
    soft, kept = lrent_soft_labels(scores, torch.tensor([0.5, 0.5]), 0.25)
    assert not kept.any() and not soft.any()


def test_lrent_of_scores_that_are_all_zero_keeps_nothing() -> None:
    soft, kept = lrent_soft_labels(torch.full((1, 2, 1, 1), -math.inf), torch.tensor([0.5, 0.5]), 0.25)
    assert not kept.any() and soft.tolist() == [[[[0.0]], [[0.0]]]]


def test_lrent_stays_finite_in_log_space_for_small_alpha() -> None:
    soft, kept = lrent_soft_labels(torch.log_softmax(50 * LOGITS, 1), torch.full((5,), 1e-6), 1e-3)
    assert bool(torch.isfinite(soft).all()) and bool(kept.all())


@pytest.mark.parametrize("alpha", [0.0, -0.25, math.nan])
def test_lrent_without_positive_alpha_is_an_error(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        lrent_soft_labels(LOGITS, THRESHOLDS, alpha)


def test_soft_cross_entropy_of_hard_labels_is_cross_entropy() -> None:
    kept = LABELS != 255
    soft = torch.nn.functional.one_hot(LABELS.clamp(max=4), 5).permute(0, 3, 1, 2).float()
    ours = soft_cross_entropy_sum(LOGITS, soft, kept)
    torch.testing.assert_close(ours, upsampled_cross_entropy_sum(LOGITS, LABELS, True))


def test_soft_cross_entropy_without_kept_pixels_is_a_differentiable_zero() -> None:
    logits = LOGITS.clone().requires_grad_()
    total, count = soft_cross_entropy_sum(logits, torch.zeros_like(LOGITS), torch.zeros(2, 3, 4).bool())
    total.backward()
    assert total.item() == 0.0 and count.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()
