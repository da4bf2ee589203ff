"""Where a crop lies: anywhere, around a pixel of a rare class, or drawn again until what it shows is wanted."""

from collections.abc import Sequence

import numpy as np

from pipeline.data.parameters import Augmentation
from pipeline.data.placement import Pixels, resized_label
from pipeline.numerics import IGNORE, WidthHeight
from pipeline.numerics.mining import mined_crop_origin
from pipeline.numerics.randomness import Draws

RARE_CROPS = 0.8
"""Share of the crops that look for a rare class. Source: released codes of CBST and CRST."""
TRIES = 10
"""Crops drawn for each rule, the last of which is taken anyway. Source: released code of DAFormer."""


def crop_origin(
    label: Pixels | None,
    size: WidthHeight,
    draws: Draws,
    parameters: Augmentation,
    rare: Sequence[int],
) -> tuple[int, int]:
    """Draw the left and top edge of a crop of an image resized to `size` (width, height).

    `label`: uint8 (H, W) of the original, or None. `rare`: the classes that the crop looks for.
    """
    window = parameters.crop or size
    room = max(0, size[0] - window[0]), max(0, size[1] - window[1])
    if label is not None and parameters.judges_crops:
        return _judged(resized_label(label, size), room, draws, parameters, rare)
    if label is not None and (draws.chance(RARE_CROPS) if parameters.rare_crops else rare):
        mined = mined_crop_origin(resized_label(label, size), rare, window, draws.below)
        if mined is not None:
            return mined
    return _anywhere(room, draws)


def _anywhere(room: WidthHeight, draws: Draws) -> tuple[int, int]:
    return draws.between(0, room[0]), draws.between(0, room[1])


def _judged(
    label: Pixels, room: WidthHeight, draws: Draws, parameters: Augmentation, rare: Sequence[int]
) -> tuple[int, int]:
    """Draw until the crop shows one of `rare` on enough of its pixels, each time until it is varied."""
    assert parameters.crop is not None
    width, height = parameters.crop
    sampling = parameters.rare_sampling
    enough = sampling.crop_share * width * height if sampling and sampling.crop_share is not None else -1.0
    for _ in range(TRIES):
        for _ in range(TRIES):
            left, top = _anywhere(room, draws)
            counts = np.bincount(label[top : top + height, left : left + width].ravel(), minlength=256)
            if _is_varied(counts[:IGNORE], parameters.max_class_share):
                break
        if not rare or counts[list(rare)].sum() > enough:
            break
    return left, top


def _is_varied(counts: np.ndarray, most: float) -> bool:
    """Whether no class has the share `most` of the labelled pixels or more; anything is where `most` is 1."""
    return most == 1.0 or bool(counts.max() < most * counts.sum())
