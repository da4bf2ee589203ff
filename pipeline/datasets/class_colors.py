"""Colors of classes: those that people know where the name says what it is, else ones that are clearly different.

Distances are those of CIE Lab (CIE 15:2004, D65), where 2.3 is a difference that one just notices.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.taxonomy import Color

ALIKE = 15.0
"""Two colors that are nearer than this in CIE Lab look alike in a small picture."""

_KNOWN: dict[Color, str] = {
    (128, 64, 128): "road, street, asphalt, drivable, carriageway, driveway",
    (244, 35, 232): "sidewalk, pavement, footpath, footway, walkway, curb, non drivable",
    (90, 75, 65): "building, house, facade",
    (102, 102, 156): "wall",
    (215, 160, 150): "fence, guard rail, railing, barrier",
    (165, 165, 165): "pole, post, column, mast",
    (250, 170, 30): "traffic light",
    (225, 225, 0): "traffic sign, sign, signsymbol, roadside objects",
    (90, 140, 35): "vegetation, tree, plant, bush, forest, leaves, far objects",
    (152, 251, 152): "terrain, grass, field, lawn, meadow",
    (70, 130, 180): "sky",
    (220, 20, 60): "person, pedestrian, people, human, living things",
    (255, 110, 60): "rider, bicyclist, cyclist, motorcyclist",
    (0, 0, 142): "car, vehicle",
    (120, 60, 220): "truck, lorry, van",
    (0, 115, 120): "bus",
    (0, 190, 170): "train, tram, rail, railway, track",
    (60, 70, 255): "motorcycle, motorbike",
    (125, 10, 35): "bicycle, bike",
    (40, 200, 250): "water, river, sea, lake, ocean",
    (185, 135, 80): "ground, soil, dirt, sand, earth, mud",
    (235, 240, 250): "snow, lane marking, road marking, road line, marking",
    (40, 40, 40): "background",
    (240, 200, 90): "polyp, object, lesion, tumor, tumour",
}
_BY_NAME = {name: color for color, names in _KNOWN.items() for name in names.split(", ")}
_FIRST: Color = (31, 119, 180)
_GRID = np.stack(np.meshgrid(*[np.linspace(0, 255, 12)] * 3, indexing="ij"), -1).reshape(-1, 3).round()


def lab(colors: NDArray[np.generic] | Sequence[Color]) -> NDArray[np.float64]:
    """CIE Lab of sRGB colors 0..255: (N, 3) -> (N, 3)."""
    scaled = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(matrix).T / [0.95047, 1.0, 1.08883]
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


_CANDIDATES = _GRID[(lab(_GRID)[:, 0] > 25) & (lab(_GRID)[:, 0] < 92)].astype(int)
"""Neither nearly black, which means ignored, nor nearly white."""


def known_color(name: str) -> Color | None:
    """The color that people expect of a class of this name; None for a name that says nothing."""
    words = re.sub(r"[\W_]+", " ", name.lower()).strip()
    for form in (
        words,
        words.removesuffix("s"),
        words.split(" ")[-1],
        words.split(" ")[-1].removesuffix("s"),
    ):
        if form in _BY_NAME:
            return _BY_NAME[form]
    return None


def class_colors(names: Sequence[str], own: Sequence[Color] = ()) -> list[Color]:
    """One color for each class: its own or the known one, unless that looks like another's; else one far from all.

    `own`: the classes' colors in their label files, if these are colors.
    """
    wanted: Sequence[Color | None] = own or [known_color(name) for name in names]
    chosen: dict[int, Color] = {}
    for place, color in enumerate(wanted):
        # Own colors are what a user knows: two may be alike, not three.
        if color is not None and _alike(color, list(chosen.values())) <= bool(own):
            chosen[place] = color
    for place in range(len(names)):
        if place not in chosen:
            chosen[place] = _far_from(list(chosen.values()))
    return [chosen[place] for place in range(len(names))]


def _alike(color: Color, others: Sequence[Color]) -> int:
    """How many others look like a color; more than all for one that another has already."""
    if not others:
        return 0
    if color in others:
        return len(others) + 1
    return int((np.linalg.norm(lab(others) - lab([color]), axis=1) < ALIKE).sum())


def _far_from(others: Sequence[Color]) -> Color:
    if not others:
        return _FIRST
    distances = np.linalg.norm(lab(_CANDIDATES)[:, None] - lab(others)[None], axis=2).min(axis=1)
    red, green, blue = _CANDIDATES[int(distances.argmax())].tolist()
    return (red, green, blue)
