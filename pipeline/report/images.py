"""Pictures of the page as data URIs, so that the page needs no file beside it."""

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.inference.overlays import resize_nearest, value_palette
from pipeline.numerics import Size

UInt8 = NDArray[np.uint8]
MAX_WIDTH = 480
"""Wider pictures are shrunk to this many pixels, or a page of 50 experiments would not open."""


def photo(image: UInt8) -> str:
    """Encode an image (H, W, 3) as JPEG."""
    size = _shown_size(image.shape[0], image.shape[1])
    picture = Image.fromarray(image)
    if picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return _encoded(picture, "jpeg")


def label_map(ids: UInt8, palette: UInt8, size: Size) -> str:
    """Encode ids (h, w) in their colors as PNG, at the shown size of an image of `size` (height, width)."""
    picture = Image.fromarray(resize_nearest(ids, _shown_size(*size)))
    picture.putpalette(palette.tobytes())
    return _encoded(picture, "png")


def value_map(values: UInt8, size: Size) -> str:
    """Encode values 0..255 (h, w) in the entropy colors as PNG, at the shown size of an image of `size`."""
    return label_map(values, value_palette(), size)


def _shown_size(height: int, width: int) -> Size:
    if width <= MAX_WIDTH:
        return height, width
    return max(1, round(height * MAX_WIDTH / width)), MAX_WIDTH


def _encoded(picture: Image.Image, kind: str) -> str:
    stream = BytesIO()
    picture.save(stream, kind, optimize=True, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
