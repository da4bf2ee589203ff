"""The fused loss against up-sampling, log-softmax and a gather written plainly in float64."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.numerics import upsampling
from pipeline.numerics.upsampled_cross_entropy import upsampled_cross_entropy_sum

SIZE = (24, 37)


def logits_of(batch=2, classes=4, grid=(6, 9), dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(batch, classes, *grid, generator=generator, dtype=dtype)


def labels_of(batch=2, classes=4, size=SIZE):
    labels = torch.randint(0, classes, (batch, *size), generator=torch.Generator().manual_seed(1))
    labels[:, :3] = 255
    labels[0, -1, ::3] = 255
    return labels


def plainly(logits, labels, align_corners):
    """Softmax, logarithm, one value per labelled pixel, sum."""
    whole = F.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=align_corners)
    image, row, column = (labels != 255).nonzero(as_tuple=True)
    return -torch.softmax(whole, dim=1).log()[image, labels[image, row, column], row, column].sum()


def with_gradient(loss, logits, labels, align_corners):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, labels, align_corners)
    value.backward()
    return value.detach(), leaf.grad


def fused(logits, labels, align_corners):
    return upsampled_cross_entropy_sum(logits, labels, align_corners)[0]


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("numbers", [1, 4 * 37 * 2 * 5, 1 << 26])
def test_value_and_gradient_are_the_plain_ones(monkeypatch, align_corners, numbers):
    monkeypatch.setattr(upsampling, "CACHED", numbers)
    logits, labels = logits_of(), labels_of()
    found, expected = (with_gradient(f, logits, labels, align_corners) for f in (fused, plainly))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert upsampled_cross_entropy_sum(logits, labels, align_corners)[1] == (labels != 255).sum()


def test_float32_is_right_to_rounding_at_a_real_size():
    logits, labels = logits_of(1, 19, (45, 80)), labels_of(1, 19, (360, 640))
    value, gradient = with_gradient(fused, logits.float(), labels, True)
    wanted, exact = with_gradient(plainly, logits, labels, True)
    assert value.dtype == gradient.dtype == torch.float32
    assert value.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert (gradient - exact).abs().max() < 1e-6 * exact.abs().max()


@pytest.mark.parametrize("size", [(6, 9), (12, 9), (6, 18)])
def test_sides_of_the_grids_own_length(size):
    logits, labels = logits_of(), labels_of(size=size)
    found, expected = (with_gradient(f, logits, labels, True) for f in (fused, plainly))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_one_pixel():
    logits, labels = logits_of(3, 4, (1, 1)), torch.tensor([2, 255, 0]).view(3, 1, 1)
    found, count = upsampled_cross_entropy_sum(logits, labels, True)
    assert count == 2
    plain = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)


def test_without_a_label_a_differentiable_zero():
    logits = logits_of().requires_grad_()
    total, count = upsampled_cross_entropy_sum(logits, torch.full((2, *SIZE), 255), True)
    total.backward()
    assert total == 0 and count == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_the_gradient_takes_the_incoming_factor():
    (_, one), (_, other) = (
        with_gradient(lambda *given, f=factor: f * fused(*given), logits_of(), labels_of(), True)
        for factor in (1.0, -0.25)
    )
    torch.testing.assert_close(other, -0.25 * one)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integer_type_are_read_and_left_alone(dtype):
    labels = labels_of().to(dtype)
    before = labels.clone()
    found = fused(logits_of(), labels, True)
    assert torch.equal(labels, before)
    assert found.item() == pytest.approx(plainly(logits_of(), labels_of(), True).item(), rel=1e-12)


@pytest.mark.parametrize("bad", [4, -1])
def test_a_label_that_is_no_class_is_an_error(bad):
    labels = labels_of()
    labels[1, 9, 9] = bad
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        fused(logits_of(), labels, True)


def test_large_logits_stay_finite():
    value, gradient = with_gradient(fused, 1e4 * logits_of(dtype=torch.float32), labels_of(), True)
    assert value.isfinite() and gradient.isfinite().all()


def test_autocast_changes_no_bit():
    logits, labels = logits_of(dtype=torch.float32), labels_of()
    expected = with_gradient(fused, logits, labels, True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = with_gradient(fused, logits, labels, True)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
