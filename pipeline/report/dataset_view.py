"""What a page shows of a task's data: class frequencies, of predictions too, pictures under their labels, warnings."""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.preview import Preview, Sample
from pipeline.datasets.sizes import describe_sizes, orientations
from pipeline.inference.sheets import still_picture
from pipeline.report import images

_DECADES = 5
"""The frequencies' axis is logarithmic, or rare classes would all lie at 0: it begins at 1e-5 of the pixels."""


def dataset_view(
    sides: Mapping[str, Preview],
    palette: NDArray[np.uint8],
    warnings: Sequence[str],
    predicted: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """Return what `dataset.html` shows of the sides by what for, such as `source`, and of all that warns.

    `predicted`: the share of each class in what a model says, by the name of that model.
    """
    labelled = {role: side for role, side in sides.items() if side.pixels is not None}
    names = next((side.classes for side in labelled.values()), ())
    series = {role: [side.share(place) for place in range(len(names))] for role, side in labelled.items()}
    series |= {f"predicted: {name}": list(shares) for name, shares in predicted.items()} if names else {}
    return {
        "warnings": warnings,
        "sides": [_side(role, side, palette) for role, side in sides.items()],
        "series": list(series),
        "classes": [
            {
                "name": name,
                "color": images.css_color(palette[place]),
                "marks": [_mark(shares[place]) for shares in series.values()],
            }
            for place, name in enumerate(names)
        ],
    }


def _side(role: str, side: Preview, palette: NDArray[np.uint8]) -> dict[str, Any]:
    return {
        "role": role,
        "facts": ", ".join(_facts(side)),
        "tiles": [_tile(sample, palette) for sample in side.samples],
        "still": images.photo(still_picture(side), images.SMALL) if side.still else None,
    }


def _facts(side: Preview) -> Sequence[str]:
    facts = [side.title, f"{side.images:,} images"]
    if side.sizes:
        kinds = " and ".join(orientations(side.sizes))
        facts.append(f"{describe_sizes(side.sizes)}, {kinds}")
    if side.pixels is None:
        facts.append("labels not opened")
    else:
        facts.append(f"{100 * side.ignored:.1f} % of the pixels ignored")
    if side.looked_at < side.images:
        facts.append(f"{side.looked_at} looked at")
    return facts


def _tile(sample: Sample, palette: NDArray[np.uint8]) -> dict[str, Any]:
    size = (sample.image.shape[0], sample.image.shape[1])
    label = sample.label
    return {
        "name": sample.name,
        "photo": images.photo(sample.image, images.SMALL),
        "label": None if label is None else images.label_map(label, palette, size, images.SMALL),
    }


def _mark(share: float) -> dict[str, str]:
    """Where a share lies on the axis, in percent of its length, and its text."""
    least = 10**-_DECADES
    place = 0.0 if share <= least else 100 * (1 + log10(share) / _DECADES)
    text = "none" if share == 0 else f"< {100 * least:g}" if share < least else f"{100 * share:.2g}"
    return {"place": f"{place:.1f}%", "text": text}
