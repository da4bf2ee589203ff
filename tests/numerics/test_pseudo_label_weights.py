"""Weights of pseudo-labels by the four rules, and the cross-entropy under them."""

import pytest
import torch

from pipeline.numerics.pseudo_label_weights import quality_weight, weighted_cross_entropy

CONFIDENCE = torch.tensor([[[0.97, 0.5], [0.968, 0.2]], [[0.9, 0.9], [0.99, 0.1]]])
"""At 0.968 and more: two of four pixels of the first image, one of the second."""


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ("batch", [[[0.375] * 2] * 2] * 2),
        ("image", [[[0.5] * 2] * 2, [[0.25] * 2] * 2]),
        ("pixel", [[[1, 0], [1, 0]], [[0, 0], [1, 0]]]),
        ("soft", (CONFIDENCE**2).tolist()),
    ],
)
def test_the_weight_of_each_rule(quality, expected):
    torch.testing.assert_close(quality_weight(CONFIDENCE, quality), torch.tensor(expected).float())


def test_the_mean_is_over_all_pixels():
    logits = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(24).reshape(2, 4, 3) % 5
    labels[0, 0] = 255
    weight = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(1))
    log_p = torch.log_softmax(logits.double(), dim=1)
    total = sum(
        -weight[n, y, x].item() * log_p[n, labels[n, y, x], y, x].item()
        for n in range(2)
        for y in range(4)
        for x in range(3)
        if labels[n, y, x] != 255
    )
    assert weighted_cross_entropy(logits, labels, weight).item() == pytest.approx(total / 24, rel=1e-5)
    nothing = weighted_cross_entropy(logits.requires_grad_(), torch.full_like(labels, 255), weight)
    nothing.backward()
    assert nothing.item() == 0.0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_under_low_precision_it_is_computed_in_float32():
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = weighted_cross_entropy(logits, torch.zeros(1, 2, 2, dtype=torch.long), torch.ones(1, 2, 2))
    assert found.dtype == torch.float32
