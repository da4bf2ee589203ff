"""What the guard took, beside the truth where labels exist: as a data frame, and as lines for the terminal and page."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from pipeline.report.model import ExperimentRecord, ReportData, Taken

COLUMNS = (
    "experiment seed test_mode criterion source_only source_only_value adapted adapted_value taken "
    "source_only_last adapted_last right"
)


def taken_table(data: ReportData) -> pd.DataFrame:
    """Return one row per guarded run and test mode.

    Columns: those of `COLUMNS`: the two stages, each with the criterion's value and the headline metric of its last
    step (percent; NaN without labels), the stage `taken`, and `right`, whether the other is no better (None without
    labels).
    """
    rows = [
        _row(experiment, taken, mode)
        for experiment in data.experiments
        for taken in experiment.taken
        for mode in experiment.test_modes
    ]
    return pd.DataFrame(rows, columns=COLUMNS.split())


def _row(experiment: ExperimentRecord, taken: Taken, mode: str) -> tuple[object, ...]:
    source_only, adapted = taken.source_only, taken.adapted
    truth = {name: experiment.value(name, taken.seed, mode) for name in (source_only, adapted)}
    base, last = truth[source_only], truth[adapted]
    right = None if base is None or last is None else truth[taken.stage] == max(base, last)
    values = (source_only, taken.values[source_only], adapted, taken.values[adapted], taken.stage)
    return (experiment.name, taken.seed, mode, taken.criterion, *values, base, last, right)


def swap_lines(data: ReportData) -> list[str]:
    """Name each run whose model folder holds source-only because adaptation looked worse."""
    table = taken_table(data).drop_duplicates(["experiment", "seed"])
    return [_swap(row) for row in table.to_dict("records") if row["taken"] == row["source_only"]]


def _swap(row: Mapping[Hashable, Any]) -> str:
    return (
        f"{row['experiment']}/seed{row['seed']}: ADAPTATION SEEMS TO HAVE MADE THINGS WORSE: "
        f"{row['criterion'].replace('_', ' ')} on target images is {row['adapted_value']:.4f} for {row['adapted']} and "
        f"{row['source_only_value']:.4f} for {row['source_only']}; model/ holds {row['source_only']}{_judged(row['right'])}"
    )


def _judged(right: bool | None) -> str:
    """Say what labels tell of a choice; nothing without labels."""
    return "" if right is None else " (the labels agree)" if right else " (the labels say otherwise)"


def count_right(data: ReportData) -> str | None:
    """Say how often the guard's choice was right where labels tell; None where they never do."""
    known = taken_table(data)["right"].dropna()
    return f"guard: right in {int(known.sum())} of {len(known)} choices" if len(known) else None
