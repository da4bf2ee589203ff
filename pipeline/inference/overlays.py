"""Label maps, entropy maps and contact sheets as pictures: NumPy and Pillow only."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.numerics import Size

UInt8 = NDArray[np.uint8]

# Dark violet over red to pale yellow, rising evenly in lightness: reads in grey and for color-blind eyes.
_RAMP = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (186, 54, 85),
        (227, 89, 51),
        (249, 140, 10),
        (249, 201, 50),
        (252, 255, 164),
    ],
    dtype=np.float64,
)


def color_labels(ids: UInt8, palette: UInt8) -> UInt8:
    """Color a label map: ids (H, W) and palette (256, 3) -> RGB (H, W, 3)."""
    if palette.shape != (256, 3):
        raise ValueError(f"the palette must have shape (256, 3), found {palette.shape}")
    return palette[ids]


def color_values(values: UInt8) -> UInt8:
    """Color a map of 0..255 (entropy, confidence): (H, W) -> RGB (H, W, 3), dark = low, light = high."""
    return value_palette()[values]


def value_palette() -> UInt8:
    """Return the colors of `color_values`: uint8 (256, 3)."""
    stops = np.linspace(0, 255, len(_RAMP))
    table = np.stack([np.interp(np.arange(256), stops, _RAMP[:, channel]) for channel in range(3)], axis=1)
    return table.round().astype(np.uint8)


def as_bytes(values: NDArray[np.floating]) -> UInt8:
    """Scale a map of [0, 1] to 0..255; values outside are clipped."""
    return (np.clip(values, 0.0, 1.0) * 255).round().astype(np.uint8)


def overlay(image: UInt8, ids: UInt8, palette: UInt8, opacity: float = 0.5, ignore: int = 255) -> UInt8:
    """Lay label colors over an image (H, W, 3); ignored pixels keep the image.

    A label map of another size is resized to the image by nearest neighbour. `opacity` of the colors is in
    [0, 1].
    """
    height, width = image.shape[:2]
    if ids.shape != (height, width):
        ids = resize_nearest(ids, (height, width))
    mixed = image * (1.0 - opacity) + color_labels(ids, palette) * opacity
    return np.where((ids == ignore)[..., None], image, mixed.round().astype(np.uint8))


def resize_nearest(values: UInt8, size: Size) -> UInt8:
    """Resize (h, w) or (h, w, 3) to `size` (height, width) without mixing values."""
    resized = Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(resized)


def fit(picture: UInt8, size: Size, background: int = 255) -> UInt8:
    """Scale a picture (h, w, 3) into `size` (height, width), keeping its proportions, centred on grey."""
    image = Image.fromarray(picture)
    scale = min(size[1] / image.width, size[0] / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (size[1], size[0]), (background,) * 3)
    resized = image.resize(inner, Image.Resampling.LANCZOS)
    canvas.paste(resized, ((size[1] - inner[0]) // 2, (size[0] - inner[1]) // 2))
    return np.asarray(canvas)


def jpeg(picture: UInt8) -> bytes:
    """A picture (H, W, 3) as a JPEG file."""
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "jpeg", quality=85)
    return stream.getvalue()


def contact_sheet(rows: Sequence[Sequence[UInt8]], tile: Size = (120, 160), gap: int = 4) -> UInt8:
    """Arrange pictures (h, w, 3) of any size in tiles of (height, width) on white; rows may be ragged."""
    if not any(rows):
        raise ValueError("a contact sheet needs at least one picture")
    columns = max(len(row) for row in rows)
    height, width = tile
    sheet = np.full((len(rows) * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            top, left = gap + row * (height + gap), gap + column * (width + gap)
            sheet[top : top + height, left : left + width] = fit(picture, tile)
    return sheet
