"""Reading one picture strictly: what is not exactly as it should be is a DataError, never a guess.

Pictures, images and labels alike, are turned upright as their EXIF orientation says, since that is how people
and annotation tools see them; sizes are those of the upright picture. Labels are read as the values in the
file: nothing is scaled or thresholded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.artifacts.errors import DataError
from pipeline.datasets.headers import (
    DAMAGE,
    DEEP_MODES,
    GREY,
    PALETTE,
    describe,
    is_lossy,
    opened,
    png_header,
)
from pipeline.datasets.nearest import FAR, color_codes, nearest_colors
from pipeline.datasets.png16 import read_first_channel
from pipeline.datasets.spec import LabelKind, Unnamed
from pipeline.datasets.taxonomy import IGNORE, Color

_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_BITS_PER_SAMPLE = 258
"""A tag of TIFFs."""
_TINTED = 0.01
"""A picture with a smaller share of colored pixels is grey."""

Pixels = NDArray[np.uint8]


def read_image(path: Path) -> Pixels:
    """Read a picture of any 8-bit mode as RGB uint8 (H, W, 3), upright; alpha is dropped.

    DataError when it is unreadable, truncated, too large, or holds more than 8 bits of grey.
    """
    with opened(path) as picture:
        _refuse_deep(path, picture)
        return _as_array(path, picture, "RGB")


@dataclass(frozen=True)
class RawLabel:
    """The values of a label, uint8 (H, W), and how many pixels are far from everything that is named."""

    values: Pixels
    far: int = 0


def read_label(path: Path, kind: LabelKind) -> Pixels:
    """Read a label of single values, uint8 (H, W); `kind` as in the dataset file, but not `colors`.

    `ids8`: the pixel or the palette's index; `grey`, `mask`: the grey level. DataError when the file is
    unreadable or not of that kind, and says which kind it seems to be.
    """
    if kind == "ids8":
        return _read_ids(path)
    if kind == "synthia":
        return _read_synthia(path)
    with opened(path) as picture:
        if kind == "grey":
            _refuse_deep(path, picture)
            _refuse_color(path, _as_array(path, picture, "RGB"))
        return _as_array(path, picture, "L")


def read_color_label(path: Path, colors: Sequence[Color], unnamed: Unnamed = "error") -> RawLabel:
    """Read a color label as the places of its colors in `colors`, 255 for colors to be ignored.

    DataError when the file is unreadable or lossy, or holds a color that is not named, unless `unnamed` says
    what becomes of those.
    """
    with opened(path) as picture:
        if unnamed != "nearest":
            _refuse_lossy(path, picture)
        codes = color_codes(_as_array(path, picture, "RGB"))
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colors], dtype=np.uint32)
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
    unknown = known[order][place] != codes
    places = order.astype(np.uint8)[place]
    if not unknown.any():
        return RawLabel(places)
    if unnamed == "error":
        raise DataError(f"{path}: {describe_colors(codes[unknown], unknown)}")
    if unnamed == "ignore":
        places[unknown] = IGNORE
        return RawLabel(places)
    found, inverse, counts = np.unique(codes[unknown], return_inverse=True, return_counts=True)
    nearest, far = nearest_colors(found, colors)
    places[unknown] = nearest[inverse]
    return RawLabel(places, int(counts[far].sum()))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask, bool (H, W): true where the picture is not zero."""
    with opened(path) as picture:
        return _as_array(path, picture, "L") != 0


def _read_ids(path: Path) -> Pixels:
    header = png_header(path)
    if header is not None and (header[0] == 16 or header[1] not in (GREY, PALETTE)):
        raise DataError(f"{path}: {_wrong_png(*header)}")
    with opened(path) as picture:
        _refuse_lossy(path, picture)
        bits = header[0] if header is not None else _tiff_bits(picture)
        if picture.mode not in ("L", "P") and not (picture.mode == "1" and bits == 1):
            raise DataError(
                f"{path}: {picture.mode} pixels where 8-bit ids are due; {_COLORS_HINT}; if none has a color, set "
                "`labels_as: grey`"
            )
        spread = picture.mode == "L" and bits < 8
        values = _as_array(path, picture, None).astype(np.uint8)
        # Pillow spreads grey values of 2 and 4 bits over 0 to 255.
        return values // np.uint8(255 // (2**bits - 1)) if spread else values


def _tiff_bits(picture: Image.Image) -> int:
    """Bits of a sample; 8 for other formats, which know no ids of fewer bits but palettes."""
    tags = getattr(picture, "tag_v2", {})
    return int(tags.get(_BITS_PER_SAMPLE, (8,))[0])


_COLORS_HINT = "for color-coded labels set `labels_as: colors` and name the colors"


def _wrong_png(depth: int, color: int) -> str:
    found = f"{depth}-bit {_PNG_KINDS.get(color, f'color type {color}')} PNG where 8-bit ids are due"
    if depth == 16:
        return f"{found}; save the ids as 8-bit grey (for SYNTHIA's own files set `labels_as: synthia`)"
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
    with opened(path):  # checks the number of pixels
        pass
    first = read_first_channel(path)
    if first.max(initial=0) > 255:
        raise DataError(f"{path}: id {first.max()} in the first channel; SYNTHIA's ids end at 22")
    return first.astype(np.uint8)


def describe_colors(strange: NDArray[np.uint32], where: NDArray[np.bool_]) -> str:
    """The colors that have no name, the most frequent ones shown."""
    found, counts = np.unique(strange, return_counts=True)
    most = found[np.argsort(-counts, kind="stable")][:3]
    shown = ", ".join(f"[{code >> 16}, {code >> 8 & 255}, {code & 255}]" for code in most.tolist())
    return (
        f"{len(found)} colors that `colors` does not name ({shown}), {where.mean():.1%} of the pixels; add them to a"
        " class or to `ignore`, or say what becomes of them by `unnamed:`"
    )


def _refuse_lossy(path: Path, picture: Image.Image) -> None:
    if is_lossy(path, picture):
        raise DataError(
            f"{path}: {picture.format} changes ids and colors; labels must be PNG (or black and white, with"
            " `labels_as: grey` and `unnamed: nearest`)"
        )


def _refuse_deep(path: Path, picture: Image.Image) -> None:
    if picture.mode in DEEP_MODES:
        raise DataError(f"{path}: {picture.mode} pixels of more than 8 bits; convert it to 8 bits")


def _refuse_color(path: Path, pixels: Pixels) -> None:
    """DataError unless nearly all pixels are grey: compression tints a few at edges."""
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    colored = float((spread > FAR).mean()) if spread.size else 0.0
    if colored > _TINTED:
        raise DataError(f"{path}: {colored:.1%} of the pixels are in color; {_COLORS_HINT}")


def _as_array(path: Path, picture: Image.Image, mode: str | None) -> Pixels:
    """The upright pixels in a Pillow mode, or as they are; a copy that may be written."""
    whole = _loaded(path, picture)
    try:
        upright = ImageOps.exif_transpose(whole)
        return np.array(upright if mode is None else upright.convert(mode))
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be decoded: {describe(error)}") from error


def _loaded(path: Path, picture: Image.Image) -> Image.Image:
    try:
        picture.load()
    except DAMAGE as error:
        raise DataError(f"{path}: damaged or truncated: {describe(error)}") from error
    return picture
