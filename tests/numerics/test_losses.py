"""Cross-entropy sums and domain losses against hand-computed values."""

import math

import pytest
import torch

from pipeline.numerics.losses import domain_loss
from pipeline.numerics.upsampled_cross_entropy import upsampled_cross_entropy_sum


def cross_entropy_sum(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum and count of logits that have the labels' size."""
    return upsampled_cross_entropy_sum(logits, labels, True)


def slow_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
    total, count = 0.0, 0
    for b, y, x in torch.nonzero(labels != 255).tolist():
        scores = logits[b, :, y, x].double()
        total += float(torch.logsumexp(scores, 0) - scores[int(labels[b, y, x])])
        count += 1
    return total, count


@pytest.mark.parametrize("label_dtype", [torch.uint8, torch.int64])
def test_sum_and_count_against_a_loop(label_dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 5, 4, 3, generator=generator)
    labels = torch.randint(0, 5, (2, 4, 3), generator=generator)
    labels[0, :2] = 255
    total, count = cross_entropy_sum(logits, labels.to(label_dtype))
    expected, expected_count = slow_cross_entropy(logits, labels)
    assert total.item() == pytest.approx(expected, rel=1e-6)
    assert count.item() == expected_count == 18


def test_ignored_only_label_gives_a_differentiable_zero() -> None:
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(2), requires_grad=True)
    total, count = cross_entropy_sum(logits, torch.full((1, 2, 2), 255))
    total.backward()
    assert total.item() == 0.0 and count.item() == 0.0
    assert logits.grad is not None and torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignored_pixels_get_no_gradient() -> None:
    logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
    cross_entropy_sum(logits, torch.tensor([[[0, 255]]]))[0].backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[0, :, 0], torch.tensor([[-0.5, 0.0], [0.5, 0.0]]))


def test_one_pixel() -> None:
    logits = torch.log(torch.tensor([0.2, 0.8])).view(1, 2, 1, 1)
    total, count = cross_entropy_sum(logits, torch.zeros(1, 1, 1, dtype=torch.int64))
    assert total.item() == pytest.approx(math.log(5)) and count.item() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    """200,000 pixels of ln 2 each exceed what half precision can add up or hold."""
    total, count = cross_entropy_sum(
        torch.zeros(1, 2, 500, 400, dtype=dtype), torch.zeros(1, 500, 400).byte()
    )
    assert total.dtype == count.dtype == torch.float32
    assert total.item() == pytest.approx(200_000 * math.log(2), rel=1e-5)
    assert count.item() == 200_000


def test_autocast_changes_no_bit_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(1, 4, 6, 6, generator=generator)
    labels = torch.randint(0, 4, (1, 6, 6), generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = cross_entropy_sum(logits, labels)
    assert torch.equal(inside, cross_entropy_sum(logits, labels)[0])


def test_another_ignore_value() -> None:
    total, count = upsampled_cross_entropy_sum(
        torch.zeros(1, 2, 1, 3), torch.tensor([[[1, 7, 0]]]), True, ignore=7
    )
    assert count.item() == 2 and total.item() == pytest.approx(2 * math.log(2))


def test_label_outside_the_classes_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="out of bounds"):
        cross_entropy_sum(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1), 5))


@pytest.mark.parametrize(("domain", "value"), [(0, math.log(1 + math.e)), (1, math.log(1 + math.exp(-1)))])
def test_vanilla_domain_loss(domain: int, value: float) -> None:
    assert domain_loss(torch.ones(2, 1, 3, 3), domain, "vanilla").item() == pytest.approx(value)


@pytest.mark.parametrize(("domain", "value"), [(0, 9.0), (1, 4.0)])
def test_least_squares_domain_loss(domain: int, value: float) -> None:
    assert domain_loss(torch.full((1, 1, 2, 2), 3.0), domain, "ls").item() == pytest.approx(value)


@pytest.mark.parametrize("gan", ["vanilla", "ls"])
def test_domain_constants_source_is_zero_and_target_is_one(gan: str) -> None:
    """A discriminator that answers "source" (negative) is right for domain 0 and wrong for domain 1."""
    answers = torch.tensor([0.0 if gan == "ls" else -9.0])
    assert domain_loss(answers, 0, gan) < 1e-3 < 0.9 < domain_loss(answers, 1, gan)  # type: ignore[arg-type]


def test_domain_loss_is_the_mean_over_the_map_and_pushes_towards_the_constant() -> None:
    logits = torch.tensor([[-2.0, 0.0], [1.0, 30.0]], requires_grad=True)
    loss = domain_loss(logits, 1)
    loss.backward()
    expected = sum(math.log1p(math.exp(-v)) for v in (-2.0, 0.0, 1.0, 30.0)) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(logits.grad, (torch.sigmoid(logits.detach()) - 1) / 4)


@pytest.mark.parametrize("gan", ["vanilla", "ls"])
def test_domain_loss_stays_on_the_device_of_the_logits(gan: str) -> None:
    loss = domain_loss(torch.zeros(1, 1, 2, 2, device="meta"), 1, gan)  # type: ignore[arg-type]
    assert loss.device.type == "meta" and loss.shape == ()


@pytest.mark.parametrize("gan", ["vanilla", "ls"])
def test_domain_loss_of_an_empty_map_is_a_differentiable_zero(gan: str) -> None:
    logits = torch.zeros(0, 1, 2, 2, requires_grad=True)
    loss = domain_loss(logits, 0, gan)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 0.0 and logits.grad is not None


def test_domain_loss_is_float32_for_half_answers() -> None:
    loss = domain_loss(torch.full((1, 1, 4, 4), 300.0, dtype=torch.float16), 0, "ls")
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(90_000.0)


def test_unknown_domain_or_gan_is_an_error() -> None:
    with pytest.raises(ValueError, match="domain"):
        domain_loss(torch.zeros(1), 2)
    with pytest.raises(ValueError, match="gan"):
        domain_loss(torch.zeros(1), 1, "wasserstein")  # type: ignore[arg-type]
