"""What a network said of one image on its own grids, as one run of bytes: the form in which maps are stored.

    packed = pack_maps([logits], (1024, 2048))     # uint8 (n,), fits the format of records
    size, maps = unpack_maps(packed)

float16 halves the bytes; a map of 1/8 resolution takes 1 MB for 19 classes of a 2048x1024 image.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.numerics import Size

HALF_MAX = float(np.finfo(np.float16).max)


def pack_maps(maps: Sequence[NDArray[np.floating]], image_size: Size) -> NDArray[np.uint8]:
    """Pack an image's maps, each (K, h, w), with the image's height and width: uint8 (n,).

    Values are rounded to float16; what lies beyond its range becomes its largest value, which no softmax can
    tell from the original.
    """
    header = [*image_size, len(maps), *(side for one in maps for side in one.shape)]
    halves = [np.clip(one, -HALF_MAX, HALF_MAX).astype("<f2").ravel() for one in maps]
    return np.concatenate([part.view(np.uint8) for part in (np.array(header, "<i4"), *halves)])


def unpack_maps(packed: NDArray[np.uint8]) -> tuple[Size, list[NDArray[np.float16]]]:
    """Give back the image's (height, width) and its maps, float16 (K, h, w) each; views where possible."""
    height, width, count = (int(value) for value in packed[:12].view("<i4"))
    start = 12 + 12 * count
    maps = []
    for shape in packed[12:start].view("<i4").reshape(count, 3).tolist():
        stop = start + 2 * int(np.prod(shape))
        maps.append(packed[start:stop].view("<f2").reshape(shape))
        start = stop
    return (height, width), maps
