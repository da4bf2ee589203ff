"""What the page says of a task without labels: what `model/` holds, and the figures that need none."""

from collections.abc import Sequence

from pipeline.report.comparison import Row
from pipeline.report.guard import MARGIN
from pipeline.report.label_free import LabelFreeChoice, coefficient_of, row_of
from pipeline.report.tables import LABEL_FREE, cell

_ORDER = ("uncertainty_coefficient", "entropy", "information_maximisation")
HEADINGS = tuple(LABEL_FREE[name] for name in _ORDER)
"""Of the comparison's columns, the figure that decides first."""


def is_unlabelled(rows: Sequence[Row]) -> bool:
    """Whether something was trained, and nothing can be scored."""
    return all(row.mean is None for row in rows) and any(row.runs for row in rows)


def compared_rows(rows: Sequence[Row]) -> tuple[Row, Row]:
    """The source stage and the last stage of the adapted chain with the surest row; twice the same without one.

    `model/` holds the latter or, where a guard refused it, the former.
    """
    row = max((row for row in rows if row.runs), key=lambda one: (one.is_adapted, _sureness(one)))
    stages = row.experiment.stages
    return row_of(rows, row, stages[0]), row_of(rows, row, stages[-1])


def _sureness(row: Row) -> float:
    found = coefficient_of(row)
    return -1.0 if found is None else found.mean


def headline(rows: Sequence[Row]) -> str:
    """What was taken of the adapted chain with the surest row, and why, in words."""
    source, other = compared_rows(rows)
    one = source.experiment
    about = f"{one.name}: " if len({row.experiment.name for row in rows}) > 1 else ""
    return about + (_taken(source, other) if other.is_adapted else "source-only, nothing is adapted")


def _taken(source: Row, adapted: Row) -> str:
    one = source.experiment
    base, value = coefficient_of(source), coefficient_of(adapted)
    if base is None or value is None:
        return "adapted, not looked at without labels"
    guarded = [choice.stage for choice in one.taken]
    if not guarded:
        return f"adapted, without a guard; label-free criterion {value.mean:.2f} against {base.mean:.2f}"
    kept = guarded.count(adapted.stage.stage)
    if not kept:
        return f"source-only, by label-free criterion {base.mean:.2f} against {value.mean:.2f}"
    seeds = "" if kept == len(guarded) else f" in {kept} of {len(guarded)} seeds"
    margin = f", within the margin of {MARGIN}" if value.mean < base.mean else ""
    return f"adapted{seeds}, by label-free criterion {value.mean:.2f} against {base.mean:.2f}{margin}"


def reason(guess: LabelFreeChoice) -> str:
    """Why a row seems the best."""
    compared = f"; its source stage: {guess.source}" if guess.source else "; it is a source stage"
    return f"uncertainty coefficient {guess.value} on unlabelled target images, the highest of all rows{compared}"


def label_free_cells(row: Row) -> list[dict[str, str]]:
    """The figures of a row for the comparison, in the order of `HEADINGS`."""
    texts = [cell(row.line, name, "", digits=4) for name in _ORDER]
    return [{"text": text, "value": text.partition(" ")[0]} for text in texts]
