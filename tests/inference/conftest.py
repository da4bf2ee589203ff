"""Tiny networks and images for the inference tests."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.prediction import Model
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.parameters import NetworkParameters

COLORS = [(128, 64, 128), (70, 70, 70), (0, 0, 142), (220, 20, 60)]
NAMES = ("road", "building", "car", "person")
FOUR_CLASSES = Taxonomy.model_validate(
    {"name": "four", "classes": [{"name": n, "color": c} for n, c in zip(NAMES, COLORS, strict=True)]}
)


class Strided(SegmentationNetwork):
    """One strided convolution to features and a 1x1 head: a real grid, hardly any time."""

    def __init__(self, num_classes: int, align_corners: bool = True) -> None:
        super().__init__()
        self.describe(NetworkParameters(backbone="small", align_corners=align_corners), num_classes)
        self.backbone = nn.Conv2d(3, 6, 3, stride=4, padding=1)
        self.main = nn.Conv2d(6, num_classes, 1)
        self.feature_channels = 6
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Output:
        self.seen.append(tuple(images.shape))
        feature = torch.relu(self.backbone(images))
        return Output(self.classify(feature), None, feature)

    def classify(self, feature: Tensor, skip: Tensor | None = None) -> Tensor:
        return self.main(feature)


@pytest.fixture
def network() -> Strided:
    return strided()


@pytest.fixture
def make_network() -> Callable[..., Strided]:
    return strided


def strided(num_classes: int = 4, align_corners: bool = True) -> Strided:
    network = Strided(num_classes, align_corners)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network.eval()


def pictures(count: int, size: tuple[int, int] = (24, 32), seed: int = 0) -> list[np.ndarray]:
    draws = np.random.default_rng([seed, *size])
    return [draws.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture
def make_pictures() -> Callable[..., list[np.ndarray]]:
    return pictures


@pytest.fixture
def four_classes() -> Taxonomy:
    return FOUR_CLASSES


@pytest.fixture
def model(network: Strided) -> Model:
    """A finished model of four classes."""
    return Model(network, FOUR_CLASSES, (32, 24), {"stage": "adapt-x-0123", "step": 5})


def picture_of(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(pictures(1, size)[0])


@pytest.fixture
def picture() -> Callable[[tuple[int, int]], Image.Image]:
    """Makes a picture of that height and width."""
    return picture_of
