"""What a network said of single images, as pages show it; free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.numerics import Size

COUNT = 48
"""Images whose maps are kept; of 2048x1024 pixels they take about 2 MB."""
LONGEST = 480
"""Longest side of a kept map in pixels: as wide as a page shows pictures."""


@dataclass(frozen=True)
class Example:
    """What was said of one image: `classes`, `entropy` (0 certain, 255 uniform), uint8 (h, w)."""

    classes: NDArray[np.uint8]
    entropy: NDArray[np.uint8]


@dataclass(frozen=True)
class Answers:
    """What was said of N images.

    `entropy`: float64 (N,), the mean of the normalised entropy over the pixels of the kept size, in [0, 1].
    `examples`: by the image's position.
    """

    entropy: NDArray[np.float64]
    examples: Mapping[int, Example]


def example_positions(images: int) -> list[int]:
    """Places of the images whose maps are kept: `COUNT` at even distances, the same ones for every model."""
    count = min(COUNT, images)
    return [(2 * place + 1) * images // (2 * count) for place in range(count)]


def kept_size(size: Size) -> Size:
    """The size in which maps of `size` are kept: no side longer than `LONGEST`."""
    scale = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
