"""What Python users hand over as a picture: a path, an array or one of Pillow's images."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.artifacts.errors import DataError
from pipeline.datasets.decoding import read_image

Picture = Path | str | np.ndarray | Image.Image
"""A file; an array, uint8 (H, W, 3) RGB or (H, W) grey; an image of Pillow's of any mode."""


def as_rgb(picture: Picture) -> Image.Image:
    """Return the picture as RGB, turned upright as its EXIF orientation says; DataError says what is wrong."""
    if isinstance(picture, str | Path):
        return Image.fromarray(read_image(Path(picture)))
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, Image.Image):
        return ImageOps.exif_transpose(picture).convert("RGB")
    raise DataError(f"a picture is a path, an array or an image of Pillow's, found {type(picture).__name__}")


def _from_array(array: np.ndarray) -> Image.Image:
    grey, color = array.ndim == 2, array.ndim == 3 and array.shape[-1] == 3
    if array.dtype != np.uint8 or not (grey or color) or array.size == 0:
        raise DataError(
            f"a picture as an array is uint8 (H, W, 3) in RGB or (H, W) in grey, values 0 to 255; found "
            f"{array.dtype} {array.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
