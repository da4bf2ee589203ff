"""Lovasz-softmax: hand-computed values and the definition, set by set."""

import math

import pytest
import torch

from pipeline.numerics.lovasz import jaccard_weights, lovasz_softmax


def slow_lovasz(logits, labels):
    """Lovasz extension from the definition: Jaccard losses of growing sets of mispredicted pixels."""
    probability = logits.softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, logits.shape[1])
    labels = labels.reshape(-1)
    probability, labels = probability[labels != 255], labels[labels != 255]
    losses = []
    for c in labels.unique().tolist():
        truth = labels == c
        errors = torch.where(truth, 1 - probability[:, c], probability[:, c])
        order = sorted(range(len(labels)), key=lambda i: -errors[i].item())
        loss, before, wrong = errors.sum() * 0, 0.0, set()
        for i in order:
            wrong.add(i)
            members = {k for k in range(len(labels)) if truth[k]}
            jaccard = 1 - len(members - wrong) / len(members | wrong)
            loss = loss + errors[i] * (jaccard - before)
            before = jaccard
        losses.append(loss)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("seed", range(4))
def test_value_and_gradient_equal_the_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 5), generator=generator)  # class 3 is absent
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    found, expected = lovasz_softmax(logits, labels), slow_lovasz(logits, labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(found, logits)[0],
        torch.autograd.grad(expected, logits)[0],
        rtol=1e-10,
        atol=1e-14,
    )


def test_hand_computed_two_pixels():
    """p(class 0) = 0.8 on a pixel of class 0 and 0.6 on one of class 1.

    Class 0: errors 0.6 (not a member) and 0.2 (member), weights 1/2 and 1/2: 0.4. Class 1: errors 0.6
    (member) and 0.2, weights 1 and 0: 0.6. Mean 0.5.
    """
    probability = torch.tensor([[[0.8, 0.6]], [[0.2, 0.4]]])[None]
    loss = lovasz_softmax(probability.log(), torch.tensor([[[0, 1]]]))
    assert loss.item() == pytest.approx(0.5, abs=1e-6)


def test_one_valid_pixel_gives_its_error():
    logits = (
        torch.tensor([0.0, math.log(3.0)]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2).clone().requires_grad_()
    )
    labels = torch.full((1, 2, 2), 255)
    labels[0, 1, 0] = 1
    loss = lovasz_softmax(logits, labels)
    loss.backward()
    assert loss.shape == () and loss.item() == pytest.approx(0.25)
    assert logits.grad[0, :, 1, 0].abs().min() > 0 and logits.grad.count_nonzero() == 2


def test_no_valid_pixel_gives_a_differentiable_scalar_zero():
    logits = torch.randn(2, 3, 2, 2, requires_grad=True)
    loss = lovasz_softmax(logits, torch.full((2, 2, 2), 255))
    loss.backward()
    assert loss.shape == () and loss.item() == 0.0 and logits.grad.abs().sum() == 0


def test_pooling_differs_from_the_mean_over_images():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 3, 3, generator=generator)
    labels = torch.randint(0, 2, (2, 3, 3), generator=generator)
    labels[1] = 0
    single = [lovasz_softmax(logits[k : k + 1], labels[k : k + 1]) for k in range(2)]
    assert abs(lovasz_softmax(logits, labels).item() - sum(single).item() / 2) > 1e-3


def test_weights_keep_their_digits_for_many_pixels():
    """Every other pixel adds I / (U (U - 1)); the difference of two float32 Jaccard losses would not."""
    count = 1_000_000
    member = torch.zeros(count, dtype=torch.bool)
    member[-10:] = True
    weights = jaccard_weights(member, torch.ones_like(member), torch.float32)
    union = 10 + 500_000.0
    assert weights[499_999].item() == pytest.approx(10 / (union * (union - 1)), rel=1e-5)
    assert weights.double().sum().item() == pytest.approx(1.0, rel=1e-6)


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(16).reshape(1, 4, 4) % 3
    loss = lovasz_softmax(logits, labels)
    assert loss.dtype == torch.float32 and torch.equal(loss, lovasz_softmax(logits.float(), labels))
