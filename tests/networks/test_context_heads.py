"""DAFormer's head and the light one: grids, what they read, and what the contract of `classify` says."""

import pytest
import torch
from torch import nn

from pipeline.networks.build import construct
from pipeline.networks.context_heads import DaformerHead, LightVitHead
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.randomness import seeded_weights

LEVELS = [
    torch.randn(2, count, 32 // step, 48 // step, generator=torch.Generator().manual_seed(step))
    for count, step in ((8, 1), (16, 2), (24, 4), (32, 8))
]


@pytest.fixture
def head():
    with seeded_weights(0):
        return DaformerHead([8, 16, 24, 32], 5, (1, 6, 12, 18), align_corners=False).eval()


def test_daformers_head_answers_on_the_finest_grid(head):
    skip = head.lower(LEVELS[:-1])
    assert skip.shape == (2, 768, 32, 48)
    assert head(LEVELS[-1], skip).shape == (2, 5, 32, 48)


@pytest.mark.parametrize("changed", range(4))
def test_every_level_reaches_the_logits(head, changed):
    other = [level * (2 if place == changed else 1) for place, level in enumerate(LEVELS)]
    first, second = (head(levels[-1], head.lower(levels[:-1])) for levels in (LEVELS, other))
    assert not torch.allclose(first, second)


def test_branches_are_a_pointwise_and_separable_dilated_convolutions(head):
    convolutions = [[layer for layer in branch if isinstance(layer, nn.Conv2d)] for branch in head.branches]
    assert [[(c.kernel_size[0], c.dilation[0], c.groups) for c in branch] for branch in convolutions] == [
        [(1, 1, 1)],
        *([(3, rate, 1024), (1, 1, 1)] for rate in (6, 12, 18)),
    ]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in head.modules()) == 1 + 3 * 2 + 1


def test_the_light_head_enlarges_four_times_and_stays_local():
    with seeded_weights(0):
        head = LightVitHead(12, 5)
    feature = torch.zeros(1, 12, 6, 6)
    other = feature.clone()
    other[0, :, 1, 1] = 1.0
    first, second = head(feature), head(other)
    assert first.shape == (1, 5, 24, 24)
    moved = (first != second).any(1)[0].nonzero()
    assert moved.min() >= 3
    assert moved.max() <= 8


def test_classify_is_main():
    parameters = NetworkParameters(
        backbone="timm/pvt_v2_b0",
        output_stride=32,
        head="daformer",
        dilations=(1, 6),
        batch_norm="train",
        align_corners=False,
    )
    with seeded_weights(0):
        network = construct(parameters, 5).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = network(images)
        torch.testing.assert_close(network.classify(output.feature, output.skip), output.main)
    assert output.main.shape == (2, 5, 16, 16)
