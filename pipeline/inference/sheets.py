"""Contact sheets of a split: labels over images with a legend, and the region that keeps still."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.datasets.preview import Preview
from pipeline.datasets.taxonomy import Color
from pipeline.inference.overlays import contact_sheet, overlay, resize_nearest
from pipeline.numerics import Size

UInt8 = NDArray[np.uint8]

_COLUMNS = 4
_TILE: Size = (180, 240)
_LINE = 24
_STILL: Color = (255, 30, 30)


def preview_sheet(preview: Preview, palette: UInt8) -> UInt8:
    """The samples with their labels over them, and below them each class's color and share: RGB uint8 (H, W, 3)."""
    tiles = [
        sample.image if sample.label is None else overlay(sample.image, sample.label, palette, 0.6)
        for sample in preview.samples
    ]
    if preview.still is not None:
        tiles.append(still_picture(preview))
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    sheet = contact_sheet(rows, _TILE)
    entries = (
        []
        if preview.pixels is None
        else [
            (f"{name} {preview.share(place):.1%}", tuple(palette[place].tolist()))
            for place, name in enumerate(preview.classes)
        ]
    )
    return np.concatenate([sheet, _legend(entries, sheet.shape[1])]) if entries else sheet


def still_picture(preview: Preview) -> UInt8:
    """The first sample with the region that keeps still in red: RGB uint8 (H, W, 3)."""
    assert preview.still is not None
    image = preview.samples[0].image
    mask = resize_nearest(preview.still.mask.astype(np.uint8), (image.shape[0], image.shape[1]))
    tinted = (image * 0.4 + np.array(_STILL) * 0.6).astype(np.uint8)
    return np.where(mask[..., None] > 0, tinted, image)


def _legend(entries: Sequence[tuple[str, Color]], width: int) -> UInt8:
    """Colored squares with their texts in lines of a sheet's width."""
    font = ImageFont.load_default(14)
    places, left, top = [], 8, 4
    for text, color in entries:
        needed = 22 + round(font.getlength(text)) + 14
        if left + needed > width and left > 8:
            left, top = 8, top + _LINE
        places.append((left, top, text, color))
        left += needed
    canvas = Image.new("RGB", (width, top + _LINE + 4), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for left, top, text, color in places:
        draw.rectangle((left, top + 3, left + 14, top + 17), fill=color, outline=(120, 120, 120))
        draw.text((left + 20, top + 2), text, fill=(20, 20, 20), font=font)
    return np.asarray(canvas)
