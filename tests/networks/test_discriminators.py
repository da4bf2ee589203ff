"""Discriminators: parameter counts, map sizes, small maps, which one fits a network."""

import pytest
import torch

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.build import build_network
from pipeline.networks.discriminator import (
    FCDiscriminator,
    PixelDiscriminator,
    VectorDiscriminator,
    build_discriminator,
)
from pipeline.networks.parameters import NetworkParameters


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("classes", "total"), [(19, 2_781_121), (16, 2_778_049)])
def test_parameter_count(classes, total):
    assert count(FCDiscriminator(classes)) == total


@pytest.mark.parametrize(
    ("size", "grid"),
    [((512, 1024), (16, 32)), ((720, 1280), (22, 40)), ((96, 192), (3, 6)), ((32, 63), (1, 1))],
)
def test_map_size_is_five_floor_halvings(size, grid):
    with torch.device("meta"):
        assert FCDiscriminator(19)(torch.empty(1, 19, *size)).shape == (1, 1, *grid)


def test_layers():
    layers = list(FCDiscriminator(5).layers)
    convolutions, slopes = layers[::2], layers[1::2]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    assert all((c.kernel_size, c.stride, c.padding) == ((4, 4), (2, 2), (1, 1)) for c in convolutions)
    assert [slope.negative_slope for slope in slopes] == [0.2] * 4


def test_maps_that_are_too_small_are_refused():
    with pytest.raises(ConfigError, match="at least 32x32 pixels, found 40x31"):
        FCDiscriminator(3)(torch.zeros(1, 3, 31, 40))


def test_pixel_discriminator_judges_each_pixel_alone():
    discriminator = PixelDiscriminator(10)
    assert count(discriminator) == 10 * 500 + 500 + 500 * 500 + 500 + 500 + 1
    maps = torch.randn(2, 10, 1, 2, generator=torch.Generator().manual_seed(0))
    scores = discriminator(maps)
    assert scores.shape == (2, 1, 1, 2)
    torch.testing.assert_close(scores[..., :1], discriminator(maps[..., :1]))


def test_vector_discriminator_takes_any_number_of_vectors():
    discriminator = VectorDiscriminator(dim=7, hidden=16)
    assert count(discriminator) == 7 * 16 + 16 + 16 * 16 + 16 + 16 + 1
    assert discriminator(torch.zeros(5, 7)).shape == (5, 1)
    assert discriminator(torch.zeros(0, 7)).shape == (0, 1)


def test_the_network_decides_which_map_discriminator_fits():
    lenet = build_network(NetworkParameters(backbone="lenet"), 10, 0)
    small = build_network(NetworkParameters(backbone="small"), 11, 0)
    assert isinstance(build_discriminator(lenet, 10), PixelDiscriminator)
    assert isinstance(build_discriminator(small, 11), FCDiscriminator)
