"""Names for the values or colors that a user's labels hold: made up, or the user's own.

Names speak of the values in the files: a mask of 0 and 255 has the ids 0 and 255.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.datasets.nearest import far_values, nearest_colors, nearest_values
from pipeline.datasets.raw_ids import class_by_raw_id
from pipeline.datasets.spec import Unnamed
from pipeline.datasets.taxonomy import IGNORE, IGNORE_NAME, Color
from pipeline.onboarding.inspection import MAX_CLASSES, LabelFacts, Value

MANY = 200
SHOWN = 12


@dataclass(frozen=True)
class Classes:
    """Class names with their values or colors, in the order of the class ids; `ignored` apart.

    `unnamed`: what becomes of pixels of another value, as in a dataset file.
    """

    values: Mapping[str, tuple[Value, ...]]
    ignored: tuple[Value, ...] = ()
    unnamed: Unnamed = "error"

    def named(self) -> tuple[Value, ...]:
        """Every value that has a meaning of its own."""
        return (*(value for group in self.values.values() for value in group), *self.ignored)

    def by_value(self) -> dict[Value, str]:
        """Class name, or `ignore`, of every named value."""
        named = {value: name for name, group in self.values.items() for value in group}
        return {**named, **dict.fromkeys(self.ignored, IGNORE_NAME)}


def found_classes(facts: LabelFacts) -> Classes:
    """Classes named by their value or color; the id 255 is ignored, a mask is background and object.

    DataError for more values than anyone leaves without names.
    """
    if set(facts.pixels) == {0, 255}:
        return Classes({"background": (0,), "object": (255,)})
    ids = [value for value in facts.pixels if value != IGNORE]
    if facts.form == "colors":
        _refuse_many(facts, len(ids), MAX_CLASSES, "colors, as photos or anti-aliased drawings do")
        return Classes({value_name(value): (value,) for value in ids})
    _refuse_many(facts, len(ids), MANY, "ids, as grey photos do")
    return Classes(
        {value_name(value): (value,) for value in ids}, (IGNORE,) if IGNORE in facts.pixels else ()
    )


def value_name(value: Value) -> str:
    """The name of a class that nobody has named."""
    return f"class_{value}" if isinstance(value, int) else "color_" + "_".join(map(str, value))


def _refuse_many(facts: LabelFacts, count: int, most: int, what: str) -> None:
    if count > most:
        raise DataError(
            f"the labels hold {'more than ' if most == MAX_CLASSES else ''}{min(count, MAX_CLASSES)} different {what} "
            f"(first: {facts.example}); is it the right folder? Labels need one exact value per class. If all of them "
            "are classes indeed, name them in a file, see --classes"
        )


def named_classes(facts: LabelFacts, given: Mapping[str, Any], unnamed: Unnamed, origin: str) -> Classes:
    """Classes as the user names them; ConfigError when a value that occurs has no name and needs one.

    `given`: ids (`{road: [1, 2], ignore: [0, "3-6"]}`) or, for color labels, colors
    (`{road: [[128, 64, 128]]}`), as in a dataset file.
    """
    try:
        values = _given_colors(given) if facts.form == "colors" else _given_ids(given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{origin}: {error}") from None
    classes = Classes(
        {name: group for name, group in values.items() if name != IGNORE_NAME},
        values.get(IGNORE_NAME, ()),
        unnamed,
    )
    missing = [value for value in facts.pixels if value not in set(classes.named())]
    if missing and unnamed == "error":
        raise ConfigError(f"{origin}: {_describe_missing(facts, classes, missing)}")
    return classes


def _describe_missing(facts: LabelFacts, classes: Classes, missing: Sequence[Value]) -> str:
    ordered = sorted(missing, key=lambda value: -facts.share(value))[:MANY]
    described = ", ".join(f"{describe_value(value)} ({describe_share(facts, [value])})" for value in ordered)
    near = facts.shares(missing) - far_share(facts, replace(classes, unnamed="nearest"))
    return (
        f"no name for {len(missing)} values that the labels hold: {described}; name each, or list it under `{IGNORE_NAME}`. "
        f"If they are soft edges or traces of compression: --unnamed nearest ({near:.2%} of the pixels, near a named "
        f"value) or --unnamed ignore"
    )


def describe_share(facts: LabelFacts, values: Sequence[Value]) -> str:
    """How many pixels have these values: their share, or their number where the share would read as nothing."""
    share = facts.shares(values)
    if f"{share:.2%}" != "0.00%":
        return f"{share:.2%} of the pixels"
    total = sum(facts.pixels.values())
    return f"{sum(facts.pixels.get(value, 0) for value in values):,} of {total:,} pixels"


def describe_value(value: Value) -> str:
    """A value as YAML writes it."""
    return str(value) if isinstance(value, int) else f"[{value[0]}, {value[1]}, {value[2]}]"


def describe_ids(values: Sequence[Value]) -> str:
    """Ids as `--ids` takes them: `1,2` or, where many follow one another, `0-127`."""
    runs: list[list[int]] = []
    for value in sorted(value for value in values if isinstance(value, int)):
        if runs and runs[-1][-1] == value - 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    short = (f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
    return ",".join(short)


def _class_name(name: str) -> str:
    """The name itself; any spelling of `ignore` means the pixels that count nowhere."""
    return IGNORE_NAME if name.strip().lower() == IGNORE_NAME else name


def _given_ids(given: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    listed = {
        _class_name(str(name)): tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
    }
    groups: dict[str, list[int]] = {name: [] for name in listed}
    for name in [name for name, value in listed.items() if value == ()]:
        raise ValueError(f'{name}: names no id; needs one, a list, or a range such as "4-6"')
    for raw, name in class_by_raw_id(listed).items():
        groups[name].append(raw)
    return {name: tuple(sorted(ids)) for name, ids in groups.items()}


def _given_colors(given: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    return {
        _class_name(str(name)): tuple(_color(name, one) for one in _list_of(name, colors))
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
        or not all(isinstance(channel, int) and channel in range(256) for channel in channels)
    ):
        raise ValueError(f"{name}: found {channels!r}; a color is [red, green, blue], each 0 to 255")
    red, green, blue = channels
    return (red, green, blue)


def class_shares(facts: LabelFacts, classes: Classes) -> dict[str, float]:
    """Share of the pixels of every class and of `ignore`, where any pixel is ignored or its value is listed."""
    shares = dict.fromkeys(classes.values, 0.0)
    if classes.ignored or classes.unnamed == "ignore":
        shares[IGNORE_NAME] = 0.0
    for value, name in _meanings(facts, classes).items():
        shares[name] = shares.get(name, 0.0) + facts.share(value)
    return shares


def _meanings(facts: LabelFacts, classes: Classes) -> dict[Value, str]:
    """What every value that occurs means."""
    named = classes.by_value()
    if classes.unnamed == "nearest":
        named = {**{value: named[near] for value, (near, _) in _nearest(facts, classes).items()}, **named}
    return {value: named.get(value, IGNORE_NAME) for value in facts.pixels}


def far_share(facts: LabelFacts, classes: Classes) -> float:
    """Share of the pixels that are far from every named value or color, where unnamed ones become the nearest."""
    if classes.unnamed != "nearest":
        return 0.0
    return facts.shares([value for value, (_, far) in _nearest(facts, classes).items() if far])


def _nearest(facts: LabelFacts, classes: Classes) -> dict[Value, tuple[Value, bool]]:
    """For every value that occurs the nearest named one, and whether even that is far."""
    if facts.form != "colors":
        ids = [value for value in classes.named() if isinstance(value, int)]
        near, far = nearest_values(ids), far_values(ids)
        found = [value for value in facts.pixels if isinstance(value, int)]
        return {value: (int(near[value]), bool(far[value])) for value in found}
    colors = [value for value in classes.named() if not isinstance(value, int)]
    present = [value for value in facts.pixels if not isinstance(value, int)]
    codes = np.array([red << 16 | green << 8 | blue for red, green, blue in present], dtype=np.uint32)
    places, distant = nearest_colors(codes, colors)
    return {
        value: (colors[place], bool(apart))
        for value, place, apart in zip(present, places.tolist(), distant.tolist(), strict=True)
    }
