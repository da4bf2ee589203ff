"""The colors of one image in the statistics of another: mean and deviation of each channel of YCbCr.

Source: Reinhard et al., Color transfer between images, 2001, in YCbCr instead of their color space, and with the
ratio of the deviations kept within bounds.
"""

from math import sqrt

import numpy as np
from PIL import Image

from pipeline.data.placement import Pixels

RATIO = 0.4, 2.5
"""Least and greatest ratio of the deviations: a flat image must not be stretched into noise."""
_VALUES = np.arange(256.0)


def with_colors_of(image: Pixels, other: Pixels) -> Pixels:
    """An image, uint8 RGB (H, W, 3), with the statistics of `other`, of any size; saturated at 0 and 255."""
    own, wanted = _ycbcr(image), _ycbcr(other)
    tables = [_table(*pair) for pair in zip(_statistics(own), _statistics(wanted), strict=True)]
    bands = [band.point(table) for band, table in zip(own.split(), tables, strict=True)]
    return np.asarray(Image.merge("YCbCr", bands).convert("RGB"))


def _ycbcr(image: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image)).convert("YCbCr")


def _statistics(picture: Image.Image) -> list[tuple[float, float]]:
    """Mean and standard deviation of each channel."""
    counts = np.array(picture.histogram(), float).reshape(3, 256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    means = shares @ _VALUES
    squares = shares @ _VALUES**2
    return [(mean, sqrt(max(0.0, square - mean**2))) for mean, square in zip(means, squares, strict=True)]


def _table(own: tuple[float, float], wanted: tuple[float, float]) -> list[int]:
    """The new value of each of 0..255."""
    ratio = min(max(wanted[1] / max(own[1], 1e-6), RATIO[0]), RATIO[1])
    values = (_VALUES - own[0]) * ratio + wanted[0]
    return [int(value) for value in np.clip(np.floor(values + 0.5), 0, 255)]
