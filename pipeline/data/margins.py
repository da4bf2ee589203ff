"""Edges of images where pseudo-labels do not count, followed through crops, resizes and mirror images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.placement import Placement

MARGINS = "margins"
"""Name of the map in a batch's extras."""


@dataclass(frozen=True)
class MarginMap:
    """An `ExtraMap`: bool (h, w), true in the margins, which are shares of the image, and beyond the image."""

    top: float
    bottom: float
    left: float
    right: float

    def __call__(self, name: str, placement: Placement) -> NDArray[np.bool_]:
        """The margins of one view."""
        x, y, inside = placement.source_coordinates()
        width, height = placement.original
        within = (x >= self.left * width) & (x < (1.0 - self.right) * width)
        within &= (y >= self.top * height) & (y < (1.0 - self.bottom) * height)
        return ~(inside & within)
