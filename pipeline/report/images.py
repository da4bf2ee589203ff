"""Pictures of the page as data URIs, so that the page needs no file beside it."""

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.inference.overlays import color_values, resize_nearest, value_palette
from pipeline.numerics import IGNORE, Size

UInt8 = NDArray[np.uint8]
MAX_WIDTH, SMALL, TINY = 480, 240, 120
"""Wider pictures and thumbnails are shrunk to so many pixels, or a page of 50 experiments would not open."""


def photo(image: UInt8, width: int = MAX_WIDTH) -> str:
    """Encode an image (H, W, 3) as JPEG."""
    size = _shown_size(image.shape[0], image.shape[1], width)
    picture = Image.fromarray(image)
    if picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return _encoded(picture, "jpeg")


def label_map(ids: UInt8, palette: UInt8, size: Size, width: int = MAX_WIDTH) -> str:
    """Encode ids (h, w) in their colors as PNG, at the shown size of an image of `size` (height, width).

    Ignored pixels are transparent.
    """
    picture = Image.fromarray(resize_nearest(ids, _shown_size(*size, width)))
    picture.putpalette(palette.tobytes())
    return _encoded(picture, "png", transparency=IGNORE)


def css_color(rgb: UInt8) -> str:
    """A color as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*rgb.tolist())


def value_map(values: UInt8, size: Size) -> str:
    """Encode values 0..255 (h, w) in the entropy colors as PNG, at the shown size of an image of `size`."""
    picture = Image.fromarray(resize_nearest(values, _shown_size(*size, MAX_WIDTH)))
    picture.putpalette(value_palette().tobytes())
    return _encoded(picture, "png")


def value_photo(values: UInt8, size: Size) -> str:
    """Encode values 0..255 (h, w) in the entropy colors as small JPEG, in the proportions of an image of `size`."""
    return photo(color_values(resize_nearest(values, _shown_size(*size, SMALL))))


def _shown_size(height: int, width: int, widest: int) -> Size:
    if width <= widest:
        return height, width
    return max(1, round(height * widest / width)), widest


def _encoded(picture: Image.Image, kind: str, **options: int) -> str:
    stream = BytesIO()
    picture.save(stream, kind, optimize=True, quality=85, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
