"""The nearest named value or color of pixels that no class names: soft edges, traces of compression, stray pixels.

A dataset file asks for it by `unnamed: nearest`. Pixels that are far from everything named are counted: many of
them mean that the labels are something else.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.taxonomy import Color

FAR = 40
"""Levels, or Euclidean distance of colors, from which on a pixel is far: nearest or not, it may be another thing."""
_ROWS = 4096
"""Colors compared at a time, to bound the memory."""


def nearest_values(named: Collection[int]) -> NDArray[np.uint8]:
    """The nearest of the `named` values (0 to 255, at least one) for every value: uint8 (256,); the lower of two."""
    anchors = np.array(sorted(named), dtype=np.int64)
    distances = np.abs(np.arange(256)[:, None] - anchors)
    return anchors[distances.argmin(axis=1)].astype(np.uint8)


def far_values(named: Collection[int]) -> NDArray[np.bool_]:
    """Which values are farther than `FAR` from every named one: bool (256,)."""
    return np.abs(np.arange(256) - nearest_values(named).astype(np.int64)) > FAR


def nearest_colors(
    codes: NDArray[np.uint32], colors: Sequence[Color]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The place of the nearest of `colors` for every code (red << 16 | green << 8 | blue), and whether it is far.

    Both have the shape (N,) of `codes`; the first of equally near colors wins.
    """
    channels = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.int32)
    anchors = np.array(colors, dtype=np.int32)
    places = np.empty(len(codes), dtype=np.uint8)
    far = np.empty(len(codes), dtype=np.bool_)
    for start in range(0, len(codes), _ROWS):
        part = slice(start, start + _ROWS)
        squared = ((channels[part, None] - anchors) ** 2).sum(axis=2)
        places[part] = squared.argmin(axis=1)
        far[part] = squared.min(axis=1) > FAR**2
    return places, far


def color_codes(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Colors (..., 3) as numbers red << 16 | green << 8 | blue, uint32 (...)."""
    wide = pixels.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], dtype=np.uint32)
