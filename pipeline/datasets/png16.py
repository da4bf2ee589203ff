"""Reading the first channel of 16-bit PNGs, of which Pillow shows the upper byte only, without a word.

Pillow's decoder can hand out either byte of a sample. `torchvision.io.decode_image` reads all 16 bits, but it is
deprecated, and version 0.29.1 ends the process (segmentation fault) on most altered files instead of raising.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.errors import DataError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HALVES = {
    "RGB;16B": (("RGB;16B", 0), ("RGB;16L", 0)),
    "RGBA;16B": (("RGBA;16B", 0), ("RGBA;16L", 0)),
    "LA;16B": (("RGBA", 0), ("RGBA", 1)),  # four bytes a pixel, the first two of them the grey's
}
"""By Pillow's raw mode of a file: raw mode and channel that give the upper and the lower byte of the first sample."""


def read_first_channel(path: Path) -> NDArray[np.uint16]:
    """The first channel of a 16-bit PNG, uint16 (H, W); DataError when it is damaged, truncated or not of 16 bits."""
    try:
        with Image.open(path) as picture:
            raw_mode = str(picture.tile[0].args)
            picture.verify()  # the checksums, which decoding alone passes over
        if raw_mode == "I;16B":
            with Image.open(path) as picture:
                return np.asarray(picture, dtype=np.uint16)
        if raw_mode not in _HALVES:
            raise ValueError(f"samples are {raw_mode}, not of 16 bits")
        high, low = (_byte(path, *half) for half in _HALVES[raw_mode])
    except (OSError, ValueError, SyntaxError, IndexError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: damaged or unusable 16-bit PNG: {error}") from error
    return high * np.uint16(256) + low


def _byte(path: Path, raw_mode: str, channel: int) -> NDArray[np.uint8]:
    """One byte of every pixel, uint8 (H, W): the file decoded as if its samples were of `raw_mode`."""
    with Image.open(path) as picture:
        picture.tile = [picture.tile[0]._replace(args=raw_mode)]
        return np.asarray(picture.getchannel(channel))
