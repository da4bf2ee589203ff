"""Regions that hardly change from image to image: the car's own hood, a frame, a time stamp.

Labels tell it best: a hood is the same class in nearly every image and ends sharply, while the frequency of road or
sky falls off slowly. Without labels only what keeps its very colors is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.numerics import IGNORE, Size

UInt8 = NDArray[np.uint8]

GRID: Size = (96, 160)
"""Height and width at which images are compared."""
FEWEST = 12
"""Images, below which a region may have kept still by chance."""
SMALLEST = 0.01
"""Of the image."""
_OFTEN, _SOMETIMES = 0.95, 0.25
"""Share of the images in which a pixel of the region's core, and one of the region, has its class."""
_EDGE = 4
"""Pixels of the grid, beyond which a sharp region has ended."""
_STILL_LEVELS = 4.0
"""Standard deviation of a color over the images, in levels of 255, of what does not change."""


@dataclass(frozen=True)
class StillRegion:
    """Where: bool (96, 160), a small picture of the whole image. `class_id`: what the labels say, None without."""

    mask: NDArray[np.bool_]
    class_id: int | None

    @property
    def share(self) -> float:
        """Share of the image."""
        return float(self.mask.mean())


def on_grid(values: UInt8) -> UInt8:
    """A label map (H, W) or an image (H, W, 3) at the size of the grid."""
    picture, size = Image.fromarray(values), (GRID[1], GRID[0])
    return np.asarray(
        picture.resize(size, Image.Resampling.NEAREST if values.ndim == 2 else Image.Resampling.BOX)
    )


def still_in_labels(labels: Sequence[UInt8]) -> StillRegion | None:
    """The largest region of one class in nearly all label maps (96, 160) that ends sharply; None for none."""
    if len(labels) < FEWEST:
        return None
    stack = np.stack(labels)
    found = [
        StillRegion(region, int(class_id))
        for class_id in np.setdiff1d(np.unique(stack), [IGNORE])
        for region in _sharp_regions((stack == class_id).mean(axis=0))
    ]
    return max(found, key=lambda region: region.share, default=None)


def _sharp_regions(frequency: NDArray[np.floating]) -> list[NDArray[np.bool_]]:
    # Imported late: whoever reads what was seen earlier does without.
    from scipy import ndimage

    regions = []
    for core in _parts(frequency >= _OFTEN):
        inner = ndimage.binary_dilation(core, iterations=_EDGE - 1)
        beyond = ndimage.binary_dilation(inner) & ~inner
        if beyond.any() and frequency[beyond].mean() < _SOMETIMES:
            regions.append(ndimage.binary_propagation(core, mask=frequency >= _SOMETIMES))
    return regions


def still_in_images(images: Sequence[UInt8]) -> StillRegion | None:
    """The largest region of images (96, 160, 3) whose colors stay the same; None for none, or if all is still."""
    if len(images) < FEWEST:
        return None
    deviation = np.stack(images).std(axis=0).max(axis=-1)
    parts = _parts(deviation < _STILL_LEVELS)
    if not parts or np.median(deviation) < 2 * _STILL_LEVELS:
        return None
    return StillRegion(max(parts, key=np.count_nonzero), None)


def _parts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The connected parts of a mask that are large enough."""
    from scipy import ndimage

    numbered, count = ndimage.label(mask)
    parts = [numbered == number for number in range(1, count + 1)]
    return [part for part in parts if part.mean() >= SMALLEST]
