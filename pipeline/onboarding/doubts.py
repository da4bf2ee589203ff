"""Labels whose meaning the values alone do not settle: what is seen, and the readings to choose from.

A mask with stray pixels, soft edges, traces of compression or an uncertain border; ids and colors that are
mixed at edges. Nothing is decided here: `init` asks, or stops and shows what to type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.artifacts.errors import DataError
from pipeline.datasets.nearest import FAR, nearest_colors
from pipeline.datasets.taxonomy import IGNORE, Color
from pipeline.onboarding.class_naming import (
    MANY,
    SHOWN,
    Classes,
    describe_ids,
    describe_share,
    describe_value,
    far_share,
    found_classes,
    value_name,
)
from pipeline.onboarding.inspection import MAX_CLASSES, LabelFacts, Value

DARK, BRIGHT = range(26), range(230, 256)
"""Values that are black or white up to compression."""
ALONE = 0.98
"""The darkest value of a mask has this share of the dark pixels; ids 0, 1, 2, ... have not."""
FEW = 0.2
"""A mask has this many times fewer other pixels than bright ones."""
LARGE = 0.2
"""So large a share of the pixels is never ignored without a question, where there is next to nothing else."""
MOST = 0.8
"""Pixels of the values that are kept, where others are edges."""
NEARLY = 0.02
"""A lossy mask has less than this share of pixels that are neither dark nor bright."""
PALETTE = 64
"""A palette that compression has blurred has at most so many colors that are far from each other; photos have more."""
WIDE_STEP = 30
"""Values that are so far apart on average are shades of grey, not ids."""


@dataclass(frozen=True)
class Reading:
    """One way to read the labels: in words, the options that choose it, and the classes it gives."""

    text: str
    options: str
    classes: Classes


@dataclass(frozen=True)
class Doubt:
    """What was seen, and the possible readings, the most likely one first."""

    seen: str
    readings: tuple[Reading, ...]


def settled_classes(facts: LabelFacts) -> Classes | None:
    """The classes where nothing is in doubt; None where `doubt` must be asked. DataError for what is no label."""
    if facts.lossy is not None:
        return _lossy_mask(facts)
    return None if doubt(facts) else found_classes(facts)


def _lossy_mask(facts: LabelFacts) -> Classes:
    between = facts.shares(
        [value for value in facts.pixels if isinstance(value, int) and FAR < value < 255 - FAR]
    )
    if between > NEARLY:
        raise DataError(
            f"{facts.lossy}: a lossy picture, and not black and white ({between:.1%} of the pixels of all labels are "
            "between): compression has changed ids and colors. Save the labels as PNG from their source. If it is a "
            "mask nevertheless: --ids background=0 object=255 --unnamed nearest"
        )
    return Classes({"background": (0,), "object": (255,)}, unnamed="nearest")


def doubt(facts: LabelFacts) -> Doubt | None:
    """What the labels leave open, or None."""
    if facts.form == "colors":
        return _mixed_colors(facts)
    for look in (_mask, _one_id, _mixed_ids):
        found = look({value: n for value, n in facts.pixels.items() if isinstance(value, int)}, facts)
        if found is not None:
            return found
    return None


def _mask(pixels: Mapping[int, int], facts: LabelFacts) -> Doubt | None:
    """Values near 0 and 255, and others that are no ids."""
    dark = {value: n for value, n in pixels.items() if value in DARK}
    bright = {value: n for value, n in pixels.items() if value in BRIGHT}
    if not dark or not bright:
        return None
    low, high = (max(group, key=lambda value: group[value]) for group in (dark, bright))
    others = [value for value in pixels if value not in (low, high)]
    if not others:
        return None
    total, middle = sum(pixels.values()), sum(pixels[value] for value in others if value not in BRIGHT)
    alone = dark[low] >= ALONE * sum(dark.values())
    ids = len(others) <= SHOWN and any(value in facts.solid for value in others if value in DARK)
    few = alone and middle < FEW * sum(bright.values()) and not (ids and facts.share(high) < LARGE)
    wide = high == IGNORE and (max(others) + 1) / (len(others) + 1) > WIDE_STEP
    soft = (
        sum(dark.values()) + sum(bright.values()) >= MOST * total
        and len(others) > 2 * SHOWN
        and max(others) > IGNORE // 2
        and not any(value in facts.solid for value in others if value not in DARK and value not in BRIGHT)
    )
    if not (few or wide or soft):
        return None
    seen = (
        f"the labels look like masks: {_shares(facts, (low, high))}, and {describe_share(facts, others)} have "
        f"{'another value' if len(others) == 1 else f'{len(others)} other values'} ({_some(others)})"
    )
    return Doubt(seen, _mask_readings(facts, low, high, others))


def _mask_readings(facts: LabelFacts, low: int, high: int, others: Sequence[int]) -> tuple[Reading, ...]:
    mask = Classes({"background": (low,), "object": (high,)}, unnamed="nearest")
    soft = Reading(
        f"a mask: every value means the nearer one of {low} and {high} "
        f"({far_share(facts, mask):.2%} of the pixels are far from both)",
        f"--ids background={low} object={high} --unnamed nearest",
        mask,
    )
    solid = [value for value in others if value in facts.solid]
    readings = [soft]
    if 0 < len(others) <= SHOWN:
        border = Reading(
            f"a mask with an uncertain border: {describe_ids(others)} is ignored",
            f"--ids background={low} object={high} ignore={describe_ids(others)}",
            Classes({"background": (low,), "object": (high,)}, tuple(others)),
        )
        readings = [border, soft] if solid else [soft, border]
        readings.append(_every_value(facts, (*facts.pixels,), ()))
    if high == IGNORE and len(facts.pixels) <= SHOWN:
        rest = [value for value in facts.pixels if value != IGNORE]
        readings.append(_every_value(facts, rest, (IGNORE,)))
    return tuple(reading for reading in readings if len(reading.classes.values) > 1)


def _every_value(facts: LabelFacts, values: Sequence[Value], ignored: tuple[Value, ...]) -> Reading:
    classes = Classes({value_name(value): (value,) for value in values}, ignored)
    words = [f"{name}={describe_ids(group)}" for name, group in classes.values.items()]
    words += [f"ignore={describe_ids(ignored)}"] if ignored else []
    described = f", and {describe_ids(ignored)} is ignored ({facts.shares(ignored):.2%})" if ignored else ""
    return Reading(f"every value is a class of its own{described}", "--ids " + " ".join(words), classes)


def _one_id(pixels: Mapping[int, int], facts: LabelFacts) -> Doubt | None:
    """One id beside 255: were 255 ignored, there would be nothing to tell apart."""
    ids = [value for value in pixels if value != IGNORE]
    if len(ids) != 1 or IGNORE not in pixels or ids == [0]:
        return None
    classes = Classes({"background": (ids[0],), "object": (IGNORE,)})
    reading = Reading("a mask", f"--ids background={ids[0]} object={IGNORE}", classes)
    return Doubt(f"the labels hold two values: {_shares(facts, (ids[0], IGNORE))}", (reading,))


def _mixed_ids(pixels: Mapping[int, int], facts: LabelFacts) -> Doubt | None:
    """Ids that never fill 3x3 pixels: mixtures of others at their edges, or stray pixels."""
    kept = [value for value in pixels if value in facts.solid and value != IGNORE]
    thin = [value for value in pixels if value not in facts.solid and value != IGNORE]
    if len(kept) < 2 or len(kept) > MANY or not thin or facts.shares(kept) < MOST * (1 - facts.share(IGNORE)):
        return None
    ignored = (IGNORE,) if IGNORE in pixels else ()
    named = {value_name(value): (value,) for value in kept}
    naming = (
        "--ids "
        + " ".join(f"{name}={describe_ids(group)}" for name, group in named.items())
        + _ignoring(ignored)
    )
    naming = naming if len(kept) <= SHOWN else ""
    return Doubt(_describe_thin(facts, thin, "ids"), _mixed_readings(facts, named, ignored, thin, naming))


def _ignoring(ignored: Sequence[Value]) -> str:
    return f" ignore={describe_ids(ignored)}" if ignored else ""


def _mixed_colors(facts: LabelFacts) -> Doubt | None:
    """Colors that never fill 3x3 pixels beside such that do; or far too many colors around a few."""
    kept = _main_colors(facts)
    strange = [value for value in facts.pixels if value not in set(kept)]
    if len(kept) < 2 or not strange:
        return None
    named: dict[str, tuple[Value, ...]] = {value_name(value): (value,) for value in kept}
    if far_share(facts, Classes(named, unnamed="nearest")) > 1 - MOST:
        return None
    return Doubt(_describe_thin(facts, strange, "colors"), _mixed_readings(facts, named, (), strange, ""))


def _main_colors(facts: LabelFacts) -> list[Color]:
    """The solid colors; where they are more than classes can be, only those that are far from a more frequent one.

    Empty where these are still so many as in photos.
    """
    solid = [value for value in facts.pixels if value in facts.solid and not isinstance(value, int)]
    if len(solid) <= MAX_CLASSES:
        return solid
    ordered = sorted(solid, key=lambda color: -facts.pixels[color])
    codes = np.array([red << 16 | green << 8 | blue for red, green, blue in ordered], dtype=np.uint32)
    kept: list[Color] = []
    while len(codes):
        kept.append(ordered[0])
        if len(kept) > PALETTE:
            return []
        apart = nearest_colors(codes, kept[-1:])[1]
        codes = codes[apart]
        ordered = [color for color, far in zip(ordered, apart.tolist(), strict=True) if far]
    return sorted(kept)


def _describe_thin(facts: LabelFacts, thin: Sequence[Value], what: str) -> str:
    return (
        f"{len(thin)} of the {len(facts.pixels)} {what} in the labels ({_some(thin)}) look like soft edges, traces of "
        "compression or stray pixels: they fill no square of 3x3 pixels anywhere, or are many around few others; "
        f"{describe_share(facts, thin)}"
    )


def _mixed_readings(
    facts: LabelFacts,
    named: Mapping[str, tuple[Value, ...]],
    ignored: tuple[Value, ...],
    thin: Sequence[Value],
    naming: str,
) -> tuple[Reading, ...]:
    near, none = Classes(named, ignored, "nearest"), Classes(named, ignored, "ignore")
    lead = f"{naming} " if naming else ""
    readings = [
        Reading(
            f"{len(named)} classes; the others mean the nearest of them "
            f"({far_share(facts, near):.2%} of the pixels are far from all)",
            f"{lead}--unnamed nearest",
            near,
        ),
        Reading(
            f"{len(named)} classes; the others are ignored",
            f"{lead}--unnamed ignore",
            none,
        ),
    ]
    values = [value for value in facts.pixels if value not in ignored]
    if len(values) <= SHOWN and facts.form != "colors":
        readings.append(_every_value(facts, values, ignored))
    return tuple(readings)


def _shares(facts: LabelFacts, values: Sequence[Value]) -> str:
    return ", ".join(
        f"{facts.share(value):.2%} of the pixels are {describe_value(value)}" for value in values
    )


def _some(values: Sequence[Value]) -> str:
    return ", ".join(describe_value(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
