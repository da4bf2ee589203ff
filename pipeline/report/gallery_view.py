"""The gallery's pictures: the images of a task once, every row's answers to them, all below a size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.numerics import IGNORE, Size
from pipeline.numerics.spacing import evenly_spaced
from pipeline.report import images
from pipeline.report.comparison import Row, best_adapted
from pipeline.report.model import Answer, ExperimentRecord, GalleryImage
from pipeline.report.unlabelled import compared_rows, is_unlabelled

BYTES = 3_400_000
"""Of all galleries of a page, which so stays below 5 MB."""
MOST, FEWEST, FIRST_SHOWN = 48, 4, 24
"""Images of one gallery, and how many of them it shows at first."""


def gallery_view(rows: Sequence[Row], share: float) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What the template shows of a task's gallery, and what the script reads; None without pictures.

    `share`: of the page's bytes for pictures, which limit the number of images.
    """
    answered = [
        (place, row.runs[0].answers) for place, row in enumerate(rows) if row.runs and row.runs[0].answers
    ]
    first = next((row.experiment for row in rows if row.experiment.gallery), None)
    if first is None:
        return None
    views: list[dict[str, Any]] = []
    limit, used = share * BYTES, 0
    for image in _spread_out(first.gallery):
        view = _image_view(image, [(place, answers.get(image.name)) for place, answers in answered], first)
        used += view.pop("bytes")
        if used > limit and len(views) >= FEWEST:
            break
        views.append(view)
    views.sort(key=lambda view: view["place"])
    read = {
        "images": [view["image"] for view in views],
        "answers": {place: [view["answers"][place] for view in views] for place, _ in answered},
    }
    return _controls(rows, [place for place, _ in answered], first, len(views)), read


def _spread_out(gallery: Sequence[GalleryImage]) -> list[GalleryImage]:
    """At most 48 images in an order whose every beginning is spread over the split."""
    chosen = evenly_spaced(gallery, MOST)
    return [chosen[place] for place in sorted(range(len(chosen)), key=lambda place: f"{place:06b}"[::-1])]


def _image_view(
    image: GalleryImage, answers: Sequence[tuple[int, Answer | None]], experiment: ExperimentRecord
) -> dict[str, Any]:
    size = (image.image.shape[0], image.image.shape[1])
    classes = None if image.label is None else _present(image.label)
    label = None if image.label is None else images.label_map(image.label, experiment.palette, size)
    shown = {"name": image.name, "photo": images.photo(image.image), "label": label, "classes": classes}
    found = {place: None if one is None else _answer_view(one, experiment, size) for place, one in answers}
    texts = [shown, *(one for one in found.values() if one)]
    size_in_bytes = sum(len(value) for one in texts for value in one.values() if isinstance(value, str))
    order = next(place for place, other in enumerate(experiment.gallery) if other is image)
    return {"image": shown, "answers": found, "bytes": size_in_bytes, "place": order}


def _answer_view(answer: Answer, experiment: ExperimentRecord, size: Size) -> dict[str, Any]:
    return {
        "map": images.label_map(answer.classes, experiment.palette, size),
        "entropy_map": images.value_photo(answer.entropy, size),
        "figure": None if answer.figure is None else round(answer.figure, 2),
        "entropy": round(float(answer.entropy.mean()) / 255, 4),
        "classes": _present(answer.classes),
    }


def _present(ids: NDArray[np.uint8]) -> list[int]:
    return [int(value) for value in np.unique(ids) if value != IGNORE]


def _controls(
    rows: Sequence[Row], answered: Sequence[int], first: ExperimentRecord, count: int
) -> dict[str, Any]:
    before, after = _shown_first(rows, answered)
    options: Mapping[str, str] = {
        **({"label": "label"} if first.gallery[0].label is not None else {}),
        "photo": "photo alone",
        **{f"map:{place}": rows[place].name for place in answered},
        **{f"entropy:{place}": f"entropy of {rows[place].name}" for place in answered},
    }
    return {
        "options": options,
        "before": "photo" if before is None else f"map:{before}",
        "after": "label" if after is None else f"map:{after}",
        "classes": list(enumerate(first.class_names)),
        "counts": [(number, number) for number in (6, 12, FIRST_SHOWN) if number < count] + [(count, count)],
        "count": min(count, FIRST_SHOWN),
    }


def _shown_first(rows: Sequence[Row], answered: Sequence[int]) -> tuple[int | None, int | None]:
    """The places of the rows to begin with, left and right: what adaptation started from, and what it gave."""
    if not answered:
        return None, None
    if is_unlabelled(rows):
        source, adapted = compared_rows(rows)
        chain = [
            place for place in answered if any(rows[place] is one for one in (source, adapted))
        ] or answered
        return chain[0], chain[-1]
    best = best_adapted(rows)
    return answered[0], next((place for place in answered if rows[place] is best), answered[-1])
