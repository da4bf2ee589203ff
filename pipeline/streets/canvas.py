"""The drawing surface of the built-in streets: a pinhole camera over a flat street and a packed pixel map.

Every pixel is one uint32 that holds label, material, shade, tint and depth, so that image and label are
written by the same assignment and can never disagree. Only +, -, *, /, comparisons and `floor` on float64
are used, which IEEE 754 defines to the last bit: the same scene has the same pixels on every platform.
"""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

LABEL_BITS = 0xF
MATERIAL_SHIFT, SHADE_SHIFT, TINT_SHIFT, DEPTH_SHIFT = 4, 10, 16, 24
SHADE_BITS = 0x3F << SHADE_SHIFT
NEUTRAL = 48
"""Shade that leaves a material's color unchanged; 0 is black, 63 is a third brighter."""
DEPTH_PER_METRE = 2.5

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Point = tuple[float, float, float]
"""A point of the world in metres: to the right of the camera, above the road, ahead."""


@dataclass(frozen=True)
class Ink:
    """What a stroke leaves on a pixel: class id, material, tint 0..255 and shade 0..63."""

    label: int
    material: int
    tint: int = 0
    shade: int = NEUTRAL

    def packed(self, depth: float) -> int:
        """The uint32 value of a pixel of this ink `depth` metres away."""
        far = min(255, int(depth * DEPTH_PER_METRE))
        shade = min(63, max(0, self.shade))
        return (
            self.label
            | self.material << MATERIAL_SHIFT
            | shade << SHADE_SHIFT
            | self.tint << TINT_SHIFT
            | far << DEPTH_SHIFT
        )


@dataclass(frozen=True)
class View:
    """A level pinhole camera: focal length and centre in pixels, height above the road in metres."""

    focal: float
    centre: float
    horizon: float
    height: float

    def column(self, x: float, z: float) -> float:
        """Image column of the world point x metres to the right and z metres ahead."""
        return self.centre + self.focal * x / z

    def row(self, y: float, z: float) -> float:
        """Image row of the world point y metres above the road and z metres ahead."""
        return self.horizon + self.focal * (self.height - y) / z


class Canvas:
    """The packed pixels (height, width) of one scene and the strokes that change them."""

    def __init__(self, width: int, height: int, view: View) -> None:
        self.width, self.height, self.view = width, height, view
        self.pixels = np.zeros((height, width), np.uint32)
        self._columns: Floats = np.arange(width, dtype=np.float64)[None, :] + 0.5
        self._rows: Floats = np.arange(height, dtype=np.float64)[:, None] + 0.5

    def centres(self, left: int, top: int, right: int, bottom: int) -> tuple[Floats, Floats]:
        """Pixel centres of a window as a row (1, w) of columns and a column (h, 1) of rows."""
        return self._columns[:, left:right], self._rows[top:bottom]

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int] | None:
        """Whole pixels whose centres may lie in the box; None where nothing of it is on the canvas."""
        left, right = max(0, floor(x0)), min(self.width, floor(x1) + 1)
        top, bottom = max(0, floor(y0)), min(self.height, floor(y1) + 1)
        return (left, top, right, bottom) if left < right and top < bottom else None

    def stamp(self, box: tuple[int, int, int, int], mask: Mask, value: int) -> None:
        """Write one packed value where the mask of the window is true."""
        left, top, right, bottom = box
        np.copyto(self.pixels[top:bottom, left:right], np.uint32(value), where=mask)

    def darken(self, box: tuple[int, int, int, int], mask: Mask, shade: int) -> None:
        """Set the shade alone: a shadow changes neither the label nor the material beneath."""
        left, top, right, bottom = box
        part = self.pixels[top:bottom, left:right]
        np.copyto(
            part, part & np.uint32(0xFFFFFFFF ^ SHADE_BITS) | np.uint32(shade << SHADE_SHIFT), where=mask
        )

    def relabel(self, box: tuple[int, int, int, int], mask: Mask, label: int) -> None:
        """Set the label alone: what is seen between the bars of a railing is annotated as fence."""
        left, top, right, bottom = box
        part = self.pixels[top:bottom, left:right]
        np.copyto(part, part & np.uint32(0xFFFFFFFF ^ LABEL_BITS) | np.uint32(label), where=mask)

    # Upright flat shapes: x in metres to the right, y in metres above the road, all at distance z.

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, z: float, ink: Ink) -> None:
        """Fill an upright rectangle; never thinner than two pixels, which is one after the reduction."""
        left, right = self.view.column(x0, z), self.view.column(x1, z)
        top, bottom = self.view.row(y1, z), self.view.row(y0, z)
        if right - left < 2.0:
            left, right = (left + right) / 2 - 1.0, (left + right) / 2 + 1.0
        if bottom - top < 2.0:
            top, bottom = (top + bottom) / 2 - 1.0, (top + bottom) / 2 + 1.0
        columns = slice(max(0, ceil(left - 0.5)), max(0, ceil(right - 0.5)))
        rows = slice(max(0, ceil(top - 0.5)), max(0, ceil(bottom - 0.5)))
        self.pixels[rows, columns] = ink.packed(z)

    def ellipse(self, centre: Point, radii: tuple[float, float], ink: Ink, hole: float = 0.0) -> None:
        """Fill an upright ellipse of half widths `radii` across and up.

        `hole` is the share of the radius left open (a wheel's rim).
        """
        x, y, z = centre
        column, row = self.view.column(x, z), self.view.row(y, z)
        a, b = (max(1.0, self.view.focal * radius / z) for radius in radii)
        box = self.window(column - a, row - b, column + a, row + b)
        if box:
            xs, ys = self.centres(*box)
            distance = ((xs - column) / a) * ((xs - column) / a) + ((ys - row) / b) * ((ys - row) / b)
            self.stamp(box, (distance <= 1.0) & (distance >= hole * hole), ink.packed(z))
            if hole:
                self.relabel(box, distance <= 1.0, ink.label)

    def polygon(self, points: list[Point], ink: Ink) -> None:
        """Fill the convex polygon of world points (x, y, z); its depth is that of the nearest point."""
        corners = [(self.view.column(x, z), self.view.row(y, z)) for x, y, z in points]
        found = self._convex(corners)
        if found:
            self.stamp(*found, ink.packed(min(z for _, _, z in points)))

    def ground_shadow(self, x0: float, x1: float, z0: float, z1: float, shade: int) -> None:
        """Darken the quadrilateral x0..x1, z0..z1 of the ground."""
        row = self.view.row
        corners = [
            (self.view.column(x0, z0), row(0.0, z0)),
            (self.view.column(x1, z0), row(0.0, z0)),
            (self.view.column(x1, z1), row(0.0, z1)),
            (self.view.column(x0, z1), row(0.0, z1)),
        ]
        found = self._convex(corners)
        if found:
            self.darken(*found, shade)

    def _convex(self, corners: list[tuple[float, float]]) -> tuple[tuple[int, int, int, int], Mask] | None:
        columns, rows = [c for c, _ in corners], [r for _, r in corners]
        box = self.window(min(columns), min(rows), max(columns), max(rows))
        if box is None:
            return None
        xs, ys = self.centres(*box)
        inside: list[Mask] = []
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            inside.append((bx - ax) * (ys - ay) - (by - ay) * (xs - ax) >= 0.0)
        everywhere = np.logical_and.reduce(inside)
        # Corners may run either way round; the other way every half plane is the complement.
        other = ~np.logical_or.reduce(inside)
        return box, everywhere | other
