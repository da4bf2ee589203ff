"""Rare-class mining: which classes training crops should favour, and where such a crop lies.

Source: Zou et al., CBST, ECCV 2018, section 5, with the crop of CRST's released code; docs/methods/cbst.md.
NumPy only, for loader processes.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def mining_classes(pixels: Sequence[int], number: int = 3, priority: Sequence[int] = ()) -> list[int]:
    """Choose the classes to mine: the `priority` ones first, then those of fewest pixels.

    `pixels`: true pixel count of each class over all images (every pixel, not a sample, and per class even
    where all classes share one threshold). Result: `number` class ids, or all priority ones if these are
    more; equal counts go to the lower id. A class without any pixel cannot be mined and is left out, so fewer
    may come back. Raises ValueError for a negative count or a priority id that is no class.
    """
    if any(count < 0 for count in pixels) or any(not 0 <= index < len(pixels) for index in priority):
        raise ValueError(f"mining needs counts of at least 0 and priority ids below {len(pixels)}")
    present = sorted((index for index, count in enumerate(pixels) if count > 0), key=lambda i: (pixels[i], i))
    first = [index for index in present if index in set(priority)]
    rest = [index for index in present if index not in set(priority)]
    return first + rest[: max(0, number - len(first))]


def mined_crop_origin(
    label: NDArray[np.uint8], classes: Sequence[int], crop: tuple[int, int], below: Callable[[int], int]
) -> tuple[int, int] | None:
    """Choose a crop that shows a mined class: left and top edge (x, y) in pixels, or None.

    `label`: uint8 (H, W). `crop`: width and height in pixels. `below`: draws
    a whole number of 0..n-1. One of `classes` present in the label is drawn
    uniformly, then one of its pixels uniformly; the crop is centred there and shifted inside the picture
    (an axis on which the crop is larger starts at 0). None, without drawing a number, where no such class is
    present: the caller then draws an ordinary crop.
    """
    counts = np.bincount(label.reshape(-1), minlength=256)
    present = [index for index in sorted(set(classes)) if counts[index] > 0]
    if not present:
        return None
    chosen = present[below(len(present))]
    places = np.flatnonzero(label.reshape(-1) == chosen)
    y, x = divmod(int(places[below(len(places))]), label.shape[1])
    width, height = crop
    left = min(max(x - width // 2, 0), max(label.shape[1] - width, 0))
    top = min(max(y - height // 2, 0), max(label.shape[0] - height, 0))
    return left, top
