"""Discriminators: which domain do output maps, pixels or class vectors come from? Raw logits, no sigmoid."""

from itertools import pairwise

from torch import Tensor, nn

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.base import SegmentationNetwork

SLOPE = 0.2
SMALLEST_SIDE = 32


class FCDiscriminator(nn.Module):
    """Five 4x4 convolutions of stride 2 (Tsai 2018): (B, K, H, W) -> (B, 1, H // 32, W // 32)."""

    def __init__(self, in_channels: int, width: int = 64) -> None:
        super().__init__()
        channels = (in_channels, width, width * 2, width * 4, width * 8, 1)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> Tensor:
        """Score maps; ConfigError where a side is under 32 pixels and nothing would be left to score."""
        height, width = maps.shape[-2:]
        if min(height, width) < SMALLEST_SIDE:
            raise ConfigError(
                f"the discriminator halves its input five times and needs maps of at least {SMALLEST_SIDE}x"
                f"{SMALLEST_SIDE} pixels, found {width}x{height}; use larger images or crops"
            )
        return self.layers(maps)


class PixelDiscriminator(nn.Module):
    """An MLP on every pixel alone, for classifiers (Hoffman 2018): (B, K, h, w) -> (B, 1, h, w)."""

    def __init__(self, in_channels: int, hidden: int = 500) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Score pixels."""
        return self.layers(maps)


class VectorDiscriminator(nn.Module):
    """An MLP on vectors, for class features (Wang 2020, our reconstruction): (N, dim) -> (N, 1)."""

    def __init__(self, dim: int, hidden: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, 1),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Score vectors; N may be 0."""
        return self.layers(vectors)


def build_discriminator(network: SegmentationNetwork, in_channels: int) -> nn.Module:
    """Make the discriminator that fits a network's output maps of `in_channels` channels."""
    return PixelDiscriminator(in_channels) if network.single_pixel else FCDiscriminator(in_channels)
