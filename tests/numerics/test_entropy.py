"""Entropy against its definition, at the edges, in half precision."""

import math

import pytest
import torch

from pipeline.numerics.entropy import entropy_map, self_information


def by_definition(logits: torch.Tensor) -> torch.Tensor:
    """The textbook form in float64, pixel by pixel."""
    p = torch.softmax(logits.double(), dim=1)
    return -p * torch.log2(p + 1e-30) / math.log2(logits.shape[1])


def test_uniform_prediction_gives_one_over_k_per_class() -> None:
    maps = self_information(torch.full((2, 5, 3, 4), 7.0))
    torch.testing.assert_close(maps, torch.full((2, 5, 3, 4), 0.2))
    torch.testing.assert_close(entropy_map(torch.zeros(1, 19, 2, 2)), torch.ones(1, 2, 2))


def test_hand_computed_two_classes() -> None:
    logits = torch.log(torch.tensor([0.25, 0.75])).view(1, 2, 1, 1)
    expected = torch.tensor([0.25 * 2.0, 0.75 * math.log2(4 / 3)]).view(1, 2, 1, 1)
    torch.testing.assert_close(self_information(logits), expected)


def test_value_and_gradient_agree_with_the_definition() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (3 * torch.randn(2, 19, 8, 8, generator=generator)).requires_grad_()
    weight = torch.randn(2, 19, 8, 8, generator=generator)
    reference = by_definition(logits)
    ours = self_information(logits)
    assert (ours - reference).abs().max() < 1e-7
    (gradient,) = torch.autograd.grad((ours * weight).sum(), logits)
    (expected,) = torch.autograd.grad((reference * weight).sum(), logits)
    assert (gradient - expected).abs().max() < 1e-6


def test_gradcheck_in_double() -> None:
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(entropy_map, (logits.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_entropy_epsilon_underflow_one_hot_is_zero_not_nan(dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 4, 1, 2, dtype=dtype)
    logits[:, 2] = 6e4
    logits.requires_grad_()
    entropy = entropy_map(logits)
    entropy.sum().backward()
    assert entropy.dtype == torch.float32
    assert torch.equal(entropy, torch.zeros(1, 1, 2))
    assert logits.grad is not None and torch.equal(logits.grad, torch.zeros_like(logits))


def test_half_precision_input_is_computed_in_float32() -> None:
    logits = torch.randn(1, 19, 6, 6, generator=torch.Generator().manual_seed(3)).half()
    assert (entropy_map(logits) - by_definition(logits).sum(1)).abs().max() < 1e-6


def test_autocast_changes_no_bit() -> None:
    logits = torch.randn(2, 7, 5, 5, generator=torch.Generator().manual_seed(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = self_information(logits)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, self_information(logits))


def test_logged_entropy_of_a_certain_prediction_is_finite() -> None:
    """The map for logs is the routine of the loss: no log(0) anywhere."""
    assert torch.isfinite(self_information(torch.tensor([1e4, -1e4, 0.0]).view(1, 3, 1, 1))).all()


def test_softmax_runs_over_the_class_axis_explicitly() -> None:
    """With as many rows as classes, an implicit axis would go unnoticed by shape alone."""
    logits = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    for b in range(4):
        torch.testing.assert_close(
            self_information(logits)[b, :, 1, 2], by_definition(logits[b : b + 1])[0, :, 1, 2].float()
        )


def test_one_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        self_information(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="at least 2 classes"):
        entropy_map(torch.zeros(1, 1, 2, 2))


def test_a_digit_is_a_map_of_one_pixel() -> None:
    logits = torch.randn(3, 10, 1, 1, generator=torch.Generator().manual_seed(6))
    assert entropy_map(logits).shape == (3, 1, 1)
    torch.testing.assert_close(entropy_map(logits), by_definition(logits).sum(1).float())
