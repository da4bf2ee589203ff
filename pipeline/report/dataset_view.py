"""What a page shows of a task's data: pictures under their labels, class frequencies, sizes, warnings."""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.preview import Preview, Sample
from pipeline.datasets.sizes import describe_sizes, orientations
from pipeline.inference.sheets import still_picture
from pipeline.report import images

_LEAST = 1e-5
"""Share of the pixels at which a bar begins: bars are logarithmic, or rare classes would have none."""


def dataset_view(
    sides: Mapping[str, Preview], palette: NDArray[np.uint8], warnings: Sequence[str]
) -> dict[str, Any]:
    """Return what `dataset.html` shows of the sides by what for, such as `source`, and of all that warns."""
    labelled = {role: side for role, side in sides.items() if side.pixels is not None}
    names = next((side.classes for side in labelled.values()), ())
    return {
        "warnings": warnings,
        "sides": [_side(role, side, palette) for role, side in sides.items()],
        "roles": list(labelled),
        "classes": [
            {
                "name": name,
                "color": images.css_color(palette[place]),
                "bars": [_bar(side.share(place)) for side in labelled.values()],
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
        facts.append(f"{side.ignored:.1%} of the pixels ignored")
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


def _bar(share: float) -> dict[str, str]:
    width = 0.0 if share <= _LEAST else 1 - log10(share) / log10(_LEAST)
    return {"width": f"{100 * width:.1f}%", "text": "none" if share == 0 else f"{100 * share:.3g} %"}
