"""Sizes of a user's pictures, and the working sizes that suit them: portrait pictures stay portrait."""

from collections import Counter
from collections.abc import Iterable, Mapping

from pipeline.numerics import WidthHeight

LONGER_SIDE = 512
SHORTEST_SIDE = 64
"""The discriminators of AdvEnt need maps of at least 32x32 pixels."""


def orientation_of(size: WidthHeight) -> str:
    """`portrait`, `landscape` or `square`."""
    width, height = size
    return "square" if width == height else "portrait" if width < height else "landscape"


def orientations(sizes: Mapping[WidthHeight, int]) -> Counter[str]:
    """How many pictures have which orientation."""
    found: Counter[str] = Counter()
    for size, count in sizes.items():
        found[orientation_of(size)] += count
    return found


def common_size(sizes: Mapping[WidthHeight, int]) -> WidthHeight:
    """The most frequent size of the most frequent orientation; the larger of equals."""
    found = orientations(sizes)
    wanted = max(found, key=lambda name: (found[name], name))
    fitting = [size for size in sizes if orientation_of(size) == wanted]
    return max(fitting, key=lambda size: (sizes[size], size))


def working_sizes(
    source: Mapping[WidthHeight, int], target: Mapping[WidthHeight, int], chosen: WidthHeight | None
) -> tuple[WidthHeight, WidthHeight]:
    """Working (width, height) of source and target: the target's proportions, its longer side at most 512.

    The source keeps its own proportions and gets the target's shorter side, so that objects have about the
    same size. Multiples of 8. `chosen`: the target's, as the user wants it.
    """
    size = chosen or _scaled(common_size(target), LONGER_SIDE)
    width, height = common_size(source)
    ratio = min(size) / min(width, height)
    return _rounded(width * ratio, height * ratio), size


def _scaled(size: WidthHeight, longest: int) -> WidthHeight:
    ratio = min(1.0, longest / max(size))
    ratio = max(ratio, SHORTEST_SIDE / min(size))
    return _rounded(size[0] * ratio, size[1] * ratio)


def _rounded(width: float, height: float) -> WidthHeight:
    return max(32, round(width / 8) * 8), max(32, round(height / 8) * 8)


def describe_sizes(sizes: Mapping[WidthHeight, int]) -> str:
    """`640x480`, or the most frequent sizes with their number."""
    ordered: Iterable[tuple[WidthHeight, int]] = sorted(sizes.items(), key=lambda entry: -entry[1])
    shown = [f"{width}x{height}" + f" ({n})" * (len(sizes) > 1) for (width, height), n in ordered]
    return ", ".join(shown[:3]) + (f", {len(shown) - 3} more sizes" if len(shown) > 3 else "")


def describe_orientations(sizes: Mapping[WidthHeight, int]) -> str | None:
    """What is lost where pictures of several orientations get one working size; None where they agree."""
    found = orientations(sizes)
    if len(found) == 1:
        return None
    counts = ", ".join(f"{count} {name}" for name, count in found.most_common())
    return (
        f"mixed orientations: {counts}; all are scaled to {orientation_of(common_size(sizes))}, the others out of "
        "their proportions. Give one orientation as a pattern, or another --size"
    )
