"""One image in the style of another: the statistics of its colors, or its amplitudes at low frequencies.

Colors are mean and deviation of each channel of YCbCr. Source: Reinhard et al., Color transfer between images, 2001,
in YCbCr instead of their color space, and with the ratio of the deviations kept within bounds.
"""

from math import floor, sqrt

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


def with_amplitudes_of(image: Pixels, other: Pixels, band: float) -> Pixels:
    """An image, uint8 RGB (H, W, 3), with the amplitudes of `other` at low frequencies, and its own phases.

    `other` is resized to its size. `band`: how many frequencies, both ways along each axis, as a share of the shorter
    side, rounded down; 0 gives the mean color alone. Saturated at 0 and 255.
    Source: Yang and Soatto, FDA: Fourier Domain Adaptation, CVPR 2020, equations 1 and 2.
    """
    height, width = image.shape[:2]
    resized = Image.fromarray(np.ascontiguousarray(other)).resize((width, height), Image.Resampling.BILINEAR)
    own, wanted = (np.fft.fft2(one, axes=(0, 1)) for one in (image, np.asarray(resized)))
    reach = floor(min(height, width) * band)
    near = np.ix_(*(_frequencies(length, reach) for length in (height, width)))
    own[near] = np.abs(wanted[near]) * np.exp(1j * np.angle(own[near]))
    return np.clip(np.rint(np.fft.ifft2(own, axes=(0, 1)).real), 0, 255).astype(np.uint8)


def _frequencies(length: int, reach: int) -> list[int]:
    """Places of the frequencies -reach..reach in a spectrum of so many."""
    return sorted({number % length for number in range(-reach, reach + 1)})


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
