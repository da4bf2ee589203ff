"""LSR sharpens below g and smooths above it."""

import math

import pytest
import torch

from pipeline.numerics.lsr import lsr


def r_of(logits):
    return -torch.log_softmax(logits, dim=1).mean()


def pixel(sharpness, classes=4):
    logits = torch.zeros(1, classes, 1, 1, dtype=torch.float64)
    logits[0, 0] = sharpness
    return logits.requires_grad_()


def test_value_of_a_uniform_prediction():
    r = math.log(19)
    found = lsr(torch.zeros(2, 19, 3, 3, dtype=torch.float64), g=10.0)
    assert found.item() == pytest.approx((r / 10 - 1) * r)


@pytest.mark.parametrize(("sharpness", "g", "rises"), [(2.0, 10.0, True), (30.0, 10.0, False)])
def test_descent_raises_r_below_g_and_lowers_it_above(sharpness, g, rises):
    logits = pixel(sharpness)
    before = r_of(logits.detach()).item()
    assert (before < g) == rises
    lsr(logits, g).backward()
    after = r_of(logits.detach() - 0.1 * logits.grad).item()
    assert (after > before) == rises


def test_gradient_is_the_frozen_coefficient_times_the_gradient_of_r():
    logits = pixel(1.5)
    (of_r,) = torch.autograd.grad(r_of(logits), logits)
    (found,) = torch.autograd.grad(lsr(logits, 10.0), logits)
    torch.testing.assert_close(found, (r_of(logits).item() / 10.0 - 1.0) * of_r)


def test_softmax_runs_over_the_class_axis():
    """Pixels are independent: changing one changes only its own share of the mean."""
    logits = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    single = [
        lsr(logits[b : b + 1, :, i : i + 1, j : j + 1]) for b in range(2) for i in range(2) for j in range(2)
    ]
    assert lsr(logits).item() == pytest.approx(torch.stack(single).mean().item(), rel=1e-12)


def test_extreme_half_precision_logits_stay_finite():
    logits = torch.tensor([60.0, -60.0, 0.0]).reshape(1, 3, 1, 1).half().requires_grad_()
    loss = lsr(logits)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and logits.grad.isfinite().all()
