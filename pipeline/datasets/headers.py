"""What a picture's header says: size, orientation, bit depth, storage; nothing is decoded.

No file above `MAX_PIXELS` is opened for more, whatever its size on disk.
"""

import struct
import warnings
import zlib
from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image, UnidentifiedImageError

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import why_no_file
from pipeline.datasets.png16 import PNG_SIGNATURE
from pipeline.numerics import WidthHeight

MAX_PIXELS = 89_478_485
"""Pillow's own limit: above it a small file may unpack to gigabytes."""

GREY, PALETTE = 0, 3
"""Color types of PNGs."""
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of more than 8 bits."""
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, TypeError)
"""What Pillow's readers raise on damaged files, depending on the format and on where the damage is."""
_LOSSY = ("JPEG", "MPO", "AVIF", "JPEG2000")
_LOSSY_IN_TIFF = ("jpeg", "tiff_jpeg", "webp")
_QUARTER_TURNS = range(5, 9)
"""EXIF orientations that swap width and height."""

Storage = Literal["palette", "grey", "shades", "colors", "lossy"]
"""`shades`: black and white of one bit, or grey with alpha."""


def picture_size(path: Path) -> WidthHeight:
    """Width and height of the upright picture, from its header; nothing is decoded."""
    with opened(path) as picture:
        width, height = picture.size
        # Pillow swaps the sides of a TIFF itself when it opens one.
        turned = picture.format != "TIFF" and _orientation(path, picture) in _QUARTER_TURNS
        return (height, width) if turned else (width, height)


def is_turned(path: Path) -> bool:
    """Whether the picture's EXIF orientation turns or mirrors it: labels must be drawn on the upright picture."""
    with opened(path) as picture:
        return _orientation(path, picture) in range(2, 9)


def stored_as(path: Path) -> Storage:
    """How a label's file stores its pixels, from its header; DataError for what can hold no classes."""
    header = png_header(path)
    if header is not None and header[0] == 16:
        raise DataError(
            f"{path}: a 16-bit PNG. Instance maps number objects, not classes: give the class (semantic) maps as "
            "8-bit PNGs. For SYNTHIA's own files write a dataset file with `labels_as: synthia`"
        )
    with opened(path) as picture:
        if picture.mode in DEEP_MODES:
            raise DataError(f"{path}: {picture.mode} pixels of more than 8 bits; save the labels with 8 bits")
        if is_lossy(path, picture):
            return "lossy"
        if picture.mode == "P":
            return "palette"
        if picture.mode == "L":
            return "grey"
        if picture.mode in ("1", "LA"):
            return "shades"
        if picture.mode in ("RGB", "RGBA"):
            return "colors"
        raise DataError(
            f"{path}: {picture.mode} pixels; labels are 8-bit ids, colors (RGB) or black-and-white masks"
        )


def png_header(path: Path) -> tuple[int, int] | None:
    """Bit depth and color type of a PNG, from its first bytes; None for another format.

    Pillow shows neither: it reads a 16-bit RGB file as 8-bit, and a 4-bit grey one as 0, 17, 34, ...
    """
    _refuse_pipe(path)
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if start[:8] != PNG_SIGNATURE:
        return None
    if len(start) < 26 or start[12:16] != b"IHDR":
        raise DataError(f"{path}: damaged: the PNG's header is cut off")
    return start[24], start[25]


def is_lossy(path: Path, picture: Image.Image) -> bool:
    """Whether the file's compression changes values."""
    if picture.format == "WEBP":
        return not _is_lossless_webp(path)
    return picture.format in _LOSSY or picture.info.get("compression") in _LOSSY_IN_TIFF


def _is_lossless_webp(path: Path) -> bool:
    """Whether every picture in a WebP file is a lossless one (chunk VP8L), see the container's specification."""
    data = path.read_bytes()
    return b"VP8L" in data[:64] if data[12:16] != b"VP8X" else b"VP8L" in data and b"VP8 " not in data


def _orientation(path: Path, picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 is upright. A PNG is decoded only where metadata follow its pixels."""
    try:
        late = picture.format != "PNG" or _metadata_after_pixels(path)
        exif = picture.getexif() if late else Image.Image.getexif(picture)
        found = exif.get(ExifTags.Base.Orientation, 1)
    except DAMAGE as error:
        raise DataError(f"{path}: its EXIF data are damaged: {describe(error)}") from error
    return found if found in range(1, 9) else 1


def _metadata_after_pixels(path: Path) -> bool:
    """Whether a PNG has EXIF data or texts behind its pixels; the chunks are stepped over, not read."""
    pixels = False
    with path.open("rb") as file:
        file.seek(len(PNG_SIGNATURE))
        while len(header := file.read(8)) == 8:
            pixels |= header[4:] == b"IDAT"
            if pixels and header[4:] in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            file.seek(int.from_bytes(header[:4], "big") + 4, 1)
    return False


def opened(path: Path) -> Image.Image:
    """The picture with its header read; DataError when it is none, or too large to be decoded."""
    _refuse_pipe(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below, with our message
            picture = Image.open(path)
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise DataError(f"{path}: {'an empty file' if empty else 'not a picture, or damaged'}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: too large: {error}") from error
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be read: {describe(error)}") from error
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.width}x{picture.height}"
        picture.close()
        raise DataError(f"{path}: {size} pixels; the limit is {MAX_PIXELS:,} in all. Cut it into tiles")
    return picture


def _refuse_pipe(path: Path) -> None:
    """DataError for what would be waited for without end."""
    if why := why_no_file(path):
        raise DataError(f"{path}: cannot be read: {why}")


def describe(error: BaseException) -> str:
    """An error of a picture reader in a few words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
