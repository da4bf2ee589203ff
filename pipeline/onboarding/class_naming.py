"""Names for the raw ids or colors that a user's labels hold: made up, or the user's own."""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.datasets.raw_ids import class_by_raw_id
from pipeline.datasets.taxonomy import IGNORE, IGNORE_NAME, Color
from pipeline.onboarding.inspection import LabelFacts

MANY = 200
Value = int | Color


@dataclass(frozen=True)
class Classes:
    """Class names with their raw ids or colors, in the order of the class ids; `ignore` apart."""

    values: Mapping[str, tuple[Value, ...]]
    ignored: tuple[Value, ...]


def found_classes(facts: LabelFacts) -> Classes:
    """Classes named by their raw id or color; the id 255 is ignored, a mask is background and object.

    DataError for more ids than anyone leaves without names.
    """
    if facts.form == "mask":
        return Classes({"background": (0,), "object": (1,)}, ())
    if facts.form == "colors":
        return Classes({"color_" + "_".join(map(str, value)): (value,) for value in _colors(facts)}, ())
    ids = [value for value in facts.pixels if value != IGNORE]
    if len(ids) > MANY:
        raise DataError(
            f"the labels hold {len(ids)} different ids, as grey photos do; is it the right folder? If they are classes "
            "indeed, name them in a file, see --classes"
        )
    return Classes({f"class_{value}": (value,) for value in ids}, (IGNORE,) if IGNORE in facts.pixels else ())


def _colors(facts: LabelFacts) -> list[Color]:
    return [value for value in facts.pixels if not isinstance(value, int)]


def named_classes(facts: LabelFacts, given: Mapping[str, Any], origin: str) -> Classes:
    """Classes as the user names them; ConfigError when a value that occurs has no name.

    `given`: ids (`{road: [1, 2], ignore: [0, "3-6"]}`) or, for color labels, colors
    (`{road: [[128, 64, 128]]}`), as in a dataset file.
    """
    try:
        values = _given_colors(given) if facts.form == "colors" else _given_ids(given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{origin}: {error}") from None
    named = {value for group in values.values() for value in group}
    unnamed = [value for value in facts.pixels if value not in named]
    if unnamed:
        told = ", ".join(f"{_told(value)} ({facts.share(value):.1%} of the pixels)" for value in unnamed)
        raise ConfigError(
            f"{origin}: no name for {len(unnamed)} values that the labels hold: {told}; name each, or list it under "
            f"`{IGNORE_NAME}`"
        )
    ignored = values.pop(IGNORE_NAME, ())
    return Classes(values, ignored)


def _told(value: Value) -> str:
    return str(value) if isinstance(value, int) else str(list(value))


def _given_ids(given: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    listed = {str(name): tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    groups: dict[str, list[int]] = {name: [] for name in listed}
    for name in [name for name, value in listed.items() if value == ()]:
        raise ValueError(f'{name}: names no id; needs one, a list, or a range such as "4-6"')
    for raw, name in class_by_raw_id(listed).items():
        groups[name].append(raw)
    return {name: tuple(sorted(ids)) for name, ids in groups.items()}


def _given_colors(given: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    return {
        str(name): tuple(_color(name, one) for one in _list_of(name, colors))
        for name, colors in given.items()
    }


def _list_of(name: str, colors: Any) -> list[Any]:
    if not isinstance(colors, list) or not colors or not isinstance(colors[0], list):
        raise ValueError(f"{name}: found {colors!r}; needs a list of colors, such as [[128, 64, 128]]")
    return colors


def _color(name: str, channels: Any) -> Color:
    if (
        not isinstance(channels, list)
        or len(channels) != 3
        or not all(channel in range(256) for channel in channels)
    ):
        raise ValueError(f"{name}: found {channels!r}; a color is [red, green, blue], each 0 to 255")
    red, green, blue = channels
    return (red, green, blue)


def distinct_colors(count: int) -> list[Color]:
    """`count` colors that are easy to tell apart: hues by the golden ratio, three brightnesses."""
    colors: list[Color] = []
    number = 0
    while len(colors) < count:
        value = (0.95, 0.7, 0.5)[number % 3]
        red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.75, value)
        color = (round(red * 255), round(green * 255), round(blue * 255))
        if color not in colors:
            colors.append(color)
        number += 1
    return colors
