"""Augmentation: random changes of one image and its label, a pure function of a key.

    augmented = augment(image, label, key, parameters)

The geometry is drawn first (`place`, `crops.py`), then applied to image and label (`placement.py`), then the color of
the image is changed. Rotations use the platform's sine and cosine; everything else is exact arithmetic or
Pillow's fixed point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, floor, radians, sin, tan

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from pipeline.artifacts.errors import DataError
from pipeline.data.crops import crop_origin
from pipeline.data.parameters import Affine, Augmentation, Color, RareCrops
from pipeline.data.placement import Matrix, Pixels, Placement
from pipeline.numerics import WidthHeight
from pipeline.numerics.mining import mining_classes
from pipeline.numerics.randomness import Draws

PRIORITY_SHARE = 0.001
"""A class with a smaller share of the pixels is always rare. Source: released codes of CBST and CRST."""


@dataclass(frozen=True)
class Augmented:
    """One sample: uint8 image (h, w, 3), uint8 label (h, w) or None, and where its pixels come from."""

    image: Pixels
    label: Pixels | None
    placement: Placement


def augment(
    image: Pixels,
    label: Pixels | None,
    key: Sequence[int],
    parameters: Augmentation,
    rare: Sequence[int] = (),
) -> Augmented:
    """Change an image, uint8 (H, W, 3), and its label, uint8 (H, W), as `key` says; `rare`: see `place`.

    A label of one pixel belongs to a classified image: it stays as it is. Without anything to change the
    arrays are returned as they came (views, never written to). DataError when image and label differ in size.
    """
    size = (image.shape[1], image.shape[0])
    classified = label is not None and label.shape == (1, 1)
    if label is not None and not classified and (label.shape[1], label.shape[0]) != size:
        raise DataError(
            f"the image has {size[0]}x{size[1]} pixels but its label {label.shape[1]}x{label.shape[0]}"
        )
    draws = Draws(key)
    placement = place(size, None if classified else label, draws, parameters, rare)
    placed = placement.image(image)
    if parameters.color:
        placed = change_color(placed, draws, parameters.color)
    return Augmented(placed, label if label is None or classified else placement.label(label), placement)


def place(
    size: WidthHeight, label: Pixels | None, draws: Draws, parameters: Augmentation, rare: Sequence[int] = ()
) -> Placement:
    """Draw the geometry of one sample of `size` (width, height).

    `rare`: the classes that crops look for; with `rare_crops` four of five do, else all.
    """
    affine = draw_affine(size, draws, parameters.affine) if parameters.affine else None
    resized = _draw_size(size, draws, parameters)
    left, top = crop_origin(label, resized, draws, parameters, rare)
    window = parameters.crop or resized
    return Placement(size, resized, left, top, window, draws.chance(parameters.flip), affine)


def _draw_size(size: WidthHeight, draws: Draws, parameters: Augmentation) -> WidthHeight:
    """Width and height after the random resize, rounded half up."""
    if parameters.shorter_side:
        shorter = min(size)
        side = draws.between(*parameters.shorter_side)
        return _scaled(size[0], side, shorter), _scaled(size[1], side, shorter)
    if parameters.scale is None:
        return size
    factors = parameters.scale_factors()
    low, high = parameters.scale
    factor = factors[draws.below(len(factors))] if factors else low + (high - low) * _closed(draws)
    return _scaled(size[0], factor), _scaled(size[1], factor)


def _closed(draws: Draws) -> float:
    """A number of [0, 1], both ends included."""
    return draws.below(2**20 + 1) / 2**20


def _scaled(length: int, factor: float, divisor: int = 1) -> int:
    return max(1, floor(length * factor / divisor + 0.5))


def rare_classes(counts: Sequence[int], parameters: RareCrops) -> tuple[int, ...]:
    """Ids of the classes that crops look for, from the labelled pixels of every class in a domain."""
    total = sum(counts)
    priority = [index for index, count in enumerate(counts) if count < PRIORITY_SHARE * total]
    return tuple(mining_classes(counts, parameters.classes, priority))


def draw_affine(size: WidthHeight, draws: Draws, parameters: Affine) -> Matrix:
    """Draw a rotation, shear, zoom and shift about the centre, as the map from output to input points."""
    turn = radians(draws.uniform(-1.0, 1.0) * parameters.degrees)
    slant = tan(radians(draws.uniform(-1.0, 1.0) * parameters.shear))
    zoom = draws.uniform(*parameters.zoom)
    shift = [draws.uniform(-1.0, 1.0) * parameters.translate * length for length in size]
    a, b = cos(turn) / zoom, (sin(turn) + slant * cos(turn)) / zoom
    d, e = -sin(turn) / zoom, (cos(turn) - slant * sin(turn)) / zoom
    x, y = size[0] / 2, size[1] / 2
    moved_x, moved_y = x + shift[0], y + shift[1]
    return (a, b, x - a * moved_x - b * moved_y, d, e, y - d * moved_x - e * moved_y)


def change_color(image: Pixels, draws: Draws, parameters: Color) -> Pixels:
    """Change brightness, contrast, saturation, hue and sharpness of an image, uint8 (h, w, 3)."""
    if not draws.chance(parameters.probability):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    for enhance, reach in (
        (ImageEnhance.Brightness, parameters.brightness),
        (ImageEnhance.Contrast, parameters.contrast),
        (ImageEnhance.Color, parameters.saturation),
    ):
        if reach:
            picture = enhance(picture).enhance(draws.uniform(1.0 - reach, 1.0 + reach))
    if parameters.hue:
        picture = _turn_hue(picture, draws.uniform(-parameters.hue, parameters.hue))
    if parameters.blur and draws.chance(parameters.blur):
        picture = picture.filter(ImageFilter.GaussianBlur(draws.uniform(*parameters.blur_radius)))
    return np.asarray(picture)


def _turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    shift = floor(turn * 256 + 0.5)
    hue = hue.point([(index + shift) % 256 for index in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
