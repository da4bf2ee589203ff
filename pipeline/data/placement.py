"""Where each pixel of an augmented image comes from: decided once per sample, then applied to all its maps.

    original --affine--> same size --resize--> resized --window, padding--> output --flip--> output

Coordinates are pixel centres: pixel i lies at i + 0.5, Pillow's convention.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.numerics import IGNORE, WidthHeight

IMAGE_PADDING = (123, 116, 104)
"""ImageNet's mean color, within 0.7 grey levels of what either input profile takes to 0: padding is no edge."""
OUTSIDE = (0, 0, 0)
"""What an affine step shows where it leaves the image: digits stand on black."""

Pixels = NDArray[np.uint8]
Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the point (x, y) of the output shows the point (ax + by + c, dx + ey + f)."""


@dataclass(frozen=True)
class Placement:
    """The geometry of one sample: `size` pixels of the resized image from column `left` and row `top`."""

    original: WidthHeight
    resized: WidthHeight
    left: int
    top: int
    size: WidthHeight
    flip: bool = False
    affine: Matrix | None = None

    def image(self, image: Pixels) -> Pixels:
        """Place an image, uint8 (H, W, 3): bilinear, padded with the mean color right and below."""
        source = _transformed(image, self.affine, Image.Resampling.BILINEAR, OUTSIDE)
        region = source if self.resized == self.original else self._resampled(source)
        if self.resized == self.original:
            region = self._cut(region)
        return self._finish(region, IMAGE_PADDING)

    def label(self, label: Pixels) -> Pixels:
        """Place a label, uint8 (H, W): nearest by Pillow's rule, padded with 255 right and below."""
        source = _transformed(label, self.affine, Image.Resampling.NEAREST, IGNORE)
        if self.resized == self.original:
            return self._finish(self._cut(source), IGNORE)
        width, height = self._covered()
        columns = nearest_indices(self.original[0], self.resized[0])[self.left : self.left + width]
        rows = nearest_indices(self.original[1], self.resized[1])[self.top : self.top + height]
        return self._finish(source[rows[:, None], columns], IGNORE)

    def source_coordinates(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """The point of the original behind every output pixel: x, y float64 (h, w), and whether it is inside.

        For maps that are resampled by whoever holds them, such as low-resolution logits.
        """
        width, height = self.size
        columns = np.arange(width)[::-1] if self.flip else np.arange(width)
        x = (columns[None, :] + self.left + 0.5) * self.original[0] / self.resized[0]
        y = (np.arange(height)[:, None] + self.top + 0.5) * self.original[1] / self.resized[1]
        x, y = np.broadcast_to(x, (height, width)), np.broadcast_to(y, (height, width))
        # Padding lies outside the image before the affine step, so it is found first.
        inside = (x < self.original[0]) & (y < self.original[1])
        if self.affine:
            a, b, c, d, e, f = self.affine
            x, y = a * x + b * y + c, d * x + e * y + f
        return x, y, inside & (x >= 0) & (y >= 0) & (x < self.original[0]) & (y < self.original[1])

    def _covered(self) -> WidthHeight:
        """Width and height of the output that the image covers; the rest is padding."""
        return min(self.size[0], self.resized[0] - self.left), min(self.size[1], self.resized[1] - self.top)

    def _cut(self, source: Pixels) -> Pixels:
        width, height = self._covered()
        return source[self.top : self.top + height, self.left : self.left + width]

    def _resampled(self, image: Pixels) -> Pixels:
        """Only the window of the resized image, from only the pixels that it needs."""
        covered = self._covered()
        columns, x0, x1 = _needed(self.left, covered[0], self.original[0], self.resized[0])
        rows, y0, y1 = _needed(self.top, covered[1], self.original[1], self.resized[1])
        region = Image.fromarray(np.ascontiguousarray(image[rows, columns]))
        return np.asarray(region.resize(covered, Image.Resampling.BILINEAR, box=(x0, y0, x1, y1)))

    def _finish(self, region: Pixels, padding: int | tuple[int, int, int]) -> Pixels:
        width, height = self.size
        if region.shape[:2] != (height, width):
            padded = np.full((height, width, *region.shape[2:]), padding, np.uint8)
            padded[: region.shape[0], : region.shape[1]] = region
            region = padded
        return region[:, ::-1] if self.flip else region


@lru_cache(maxsize=256)
def nearest_indices(before: int, after: int) -> NDArray[np.int64]:
    """Source index of every target index under Pillow's NEAREST: floor((i + 0.5) * before / after).

    Pillow adds up the step in float64, which decides where the exact point lies between two pixels; so does this.
    """
    steps = np.full(after, before / after)
    steps[0] /= 2
    return np.add.accumulate(steps).astype(np.int64)


def resized_label(label: Pixels, size: WidthHeight) -> Pixels:
    """A label, uint8 (H, W), resized to `size` by Pillow's NEAREST; itself where it has that size."""
    height, width = label.shape
    if (width, height) == size:
        return label
    return label[nearest_indices(height, size[1])[:, None], nearest_indices(width, size[0])]


def _needed(start: int, length: int, before: int, after: int) -> tuple[slice, float, float]:
    """Source pixels under `length` resized pixels from `start`, and the exact ends within them."""
    ratio = before / after
    low, high = start * ratio, (start + length) * ratio
    reach = max(1.0, ratio) + 1.0
    first, last = max(0, int(low - reach)), min(before, int(high + reach) + 1)
    return slice(first, last), low - first, min(high - first, last - first)


def _transformed(
    map_: Pixels, affine: Matrix | None, filter_: Image.Resampling, fill: int | tuple[int, int, int]
) -> Pixels:
    if affine is None:
        return map_
    picture = Image.fromarray(np.ascontiguousarray(map_))
    moved = picture.transform(picture.size, Image.Transform.AFFINE, affine, filter_, fillcolor=fill)
    return np.asarray(moved)
