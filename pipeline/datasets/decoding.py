"""Reading one picture strictly: what is not exactly as it should be is a DataError, never a guess.

Images are turned upright as their EXIF orientation says, since that is how people and annotation tools see
them; labels carry no orientation. Labels are read as raw ids: nothing is converted, scaled or thresholded
unless the dataset file asks for it. No file above `MAX_PIXELS` is decoded, whatever its size on disk.
"""

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.artifacts.errors import DataError
from pipeline.datasets.png16 import PNG_SIGNATURE, read_first_channel
from pipeline.datasets.spec import LabelKind
from pipeline.datasets.taxonomy import Color

MAX_PIXELS = 89_478_485
"""Pillow's own limit: above it a small file may unpack to gigabytes."""

GREY, PALETTE = 0, 3
_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, TypeError)
"""What Pillow's readers raise on damaged files, depending on the format and on where the damage is."""

Pixels = NDArray[np.uint8]


def read_image(path: Path) -> Pixels:
    """Read a picture of any 8-bit mode as RGB uint8 (H, W, 3), upright; alpha is dropped.

    DataError when it is unreadable, truncated, too large, or holds more than 8 bits of grey.
    """
    with _opened(path) as picture:
        if picture.mode in _DEEP_MODES:
            raise DataError(f"{path}: {picture.mode} pixels of more than 8 bits; convert the image to 8 bits")
        whole = _loaded(path, picture)
        try:
            return np.asarray(ImageOps.exif_transpose(whole).convert("RGB"))
        except _DAMAGE as error:
            raise DataError(f"{path}: cannot be turned into RGB: {_told(error)}") from error


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height from a picture's header, before any orientation is applied; nothing is decoded."""
    with _opened(path) as picture:
        return picture.size


def read_label(path: Path, kind: LabelKind, colors: Sequence[Color] = ()) -> Pixels:
    """Read a label as raw ids, uint8 (H, W); `kind` and `colors` as in the dataset file.

    DataError when the file is unreadable or not of that kind, and says which kind it seems to be.
    """
    if kind == "ids8":
        return _read_ids(path)
    if kind == "synthia":
        return _read_synthia(path)
    with _opened(path) as picture:
        if kind == "mask":
            return (np.asarray(_loaded(path, picture).convert("L")) > 127).astype(np.uint8)
        _refuse_lossy(path, picture)
        return _ids_of_colors(path, np.asarray(_loaded(path, picture).convert("RGB")), colors)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask, bool (H, W): true where the picture is not zero."""
    with _opened(path) as picture:
        return np.asarray(_loaded(path, picture).convert("L")) != 0


def png_header(path: Path) -> tuple[int, int] | None:
    """Bit depth and color type of a PNG, from its first bytes; None for another format.

    Pillow shows neither: it reads a 16-bit RGB file as 8-bit, and a 4-bit grey one as 0, 17, 34, ...
    """
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


def _read_ids(path: Path) -> Pixels:
    header = png_header(path)
    if header is not None and header not in ((8, GREY), (8, PALETTE)):
        raise DataError(f"{path}: {_wrong_png(*header)}")
    with _opened(path) as picture:
        _refuse_lossy(path, picture)
        if picture.mode not in ("L", "P"):
            raise DataError(f"{path}: {picture.mode} pixels where 8-bit ids are due; {_COLORS_HINT}")
        return np.array(_loaded(path, picture))


_COLORS_HINT = "for color-coded labels set `labels_as: colors` and name the colors"


def _wrong_png(depth: int, color: int) -> str:
    found = f"{depth}-bit {_PNG_KINDS.get(color, f'color type {color}')} PNG where 8-bit ids are due"
    if depth == 16:
        return f"{found}; save the ids as 8-bit grey (for SYNTHIA's own files set `labels_as: synthia`)"
    if color in (GREY, PALETTE):
        return f"{found}; save the ids as 8-bit grey, or set `labels_as: mask` for black and white"
    return f"{found}; {_COLORS_HINT}"


def _read_synthia(path: Path) -> Pixels:
    """The first channel of a 16-bit PNG, or an 8-bit grey PNG made of it (`docs/protocol.md`, SYNTHIA)."""
    header = png_header(path)
    if header is None:
        raise DataError(f"{path}: not a PNG; SYNTHIA's labels are the PNGs in GT/LABELS")
    if header == (8, GREY):
        return _read_ids(path)
    if header[0] != 16:
        raise DataError(
            f"{path}: {header[0]}-bit PNG; SYNTHIA's ids are the 16-bit files in GT/LABELS, not GT/COLOR"
        )
    with _opened(path):  # checks the number of pixels
        pass
    first = read_first_channel(path)
    if first.max(initial=0) > 255:
        raise DataError(f"{path}: id {first.max()} in the first channel; SYNTHIA's ids end at 22")
    return first.astype(np.uint8)


def _ids_of_colors(path: Path, pixels: Pixels, colors: Sequence[Color]) -> Pixels:
    wide = pixels.astype(np.uint32)
    codes = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colors], dtype=np.uint32)
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
    unknown = known[order][place] != codes
    if unknown.any():
        found, counts = np.unique(codes[unknown], return_counts=True)
        most = found[np.argsort(-counts, kind="stable")][:3]
        shown = ", ".join(f"[{code >> 16}, {code >> 8 & 255}, {code & 255}]" for code in most.tolist())
        raise DataError(
            f"{path}: {len(found)} colors that `colors` does not name ({shown}),"
            f" {unknown.mean():.1%} of the pixels; add them to a class or to `ignore`"
        )
    return order.astype(np.uint8)[place]


def _refuse_lossy(path: Path, picture: Image.Image) -> None:
    if picture.format in _LOSSY:
        raise DataError(
            f"{path}: {picture.format} changes ids and colors; labels must be PNG (or `labels_as: mask`)"
        )


def _opened(path: Path) -> Image.Image:
    """The picture with its header read; DataError when it is none, or too large to be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below, with our message
            picture = Image.open(path)
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise DataError(f"{path}: {'an empty file' if empty else 'not a picture, or damaged'}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: too large: {error}") from error
    except _DAMAGE as error:
        raise DataError(f"{path}: cannot be read: {_told(error)}") from error
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.width}x{picture.height}"
        picture.close()
        raise DataError(f"{path}: {size} pixels; the limit is {MAX_PIXELS:,} in all. Cut it into tiles")
    return picture


def _loaded(path: Path, picture: Image.Image) -> Image.Image:
    try:
        picture.load()
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged or truncated: {_told(error)}") from error
    return picture


def _told(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
