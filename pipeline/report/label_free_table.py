"""The table of a suite whose targets have no labels: what every stage's figures say that need none, over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.program import program
from pipeline.report.table_formats import Line, Number
from pipeline.report.tables import LABEL_FREE, cell
from pipeline.stages.results import MADE

CAPTION = (
    "The target has no labels, so there are no scores. Figures of unlabelled target images at the last step, mean ± "
    "standard deviation over n seeds: {figures}. They are signs, not results: the guard decides by the uncertainty "
    "coefficient."
)


@dataclass(frozen=True)
class LabelFreeTable:
    """Finished rows of `results.csv`, by task."""

    rows: pd.DataFrame

    @property
    def caption(self) -> str:
        """What the figures are, and that there are no labels."""
        text = CAPTION.format(figures=", ".join(LABEL_FREE.values()))
        blank = self.rows[[f"{name}_mean" for name in LABEL_FREE]].isna().any(axis=None)
        return text + (
            " Empty: not looked at; `evaluate: {snapshots: all}` looks at every stage." if blank else ""
        )

    @property
    def labels(self) -> list[str]:
        """Names of the first columns: experiment and stage, then what the rows differ in."""
        differing = [name for name in ("network", "test_mode") if self.rows[name].nunique() > 1]
        return ["experiment", "stage", *differing]

    @property
    def figures(self) -> list[str]:
        """Names of the figures' columns."""
        return ["n", *LABEL_FREE.values()]

    def lines(self) -> list[Line]:
        """One for every stage; none is marked as the best, for that is not known."""
        return [
            Line(
                row["task"],
                tuple(str(row[name]) for name in self.labels),
                (str(row["trained"]), *(cell(row, name, "", digits=4) for name in LABEL_FREE)),
            )
            for _, row in self.rows.iterrows()
        ]

    def numbers(self) -> list[dict[str, Number]]:
        """The same, each number in a column of its own."""
        return [
            {
                "experiment": row["experiment"],
                "task": row["task"],
                **{name: row[name] for name in self.labels[1:]},
                "n": row["trained"],
                **{key: value for name in LABEL_FREE for key, value in _mean_and_sd(row, name).items()},
            }
            for _, row in self.rows.iterrows()
        ]


def label_free_table(folder: Path, results: pd.DataFrame, baseline: str | None) -> LabelFreeTable:
    """Make the table from `results.csv` of the report in `folder`, none of whose rows has a score.

    ArtifactError: nothing has finished, or the file lacks a figure. ConfigError: a baseline, of which there are no gains.
    """
    if missing := [name for name in LABEL_FREE if f"{name}_mean" not in results]:
        raise ArtifactError(
            f"{folder / 'results.csv'}: no column {missing[0]}_mean, an earlier version made it; remove {folder / MADE} "
            f"and run `{program()} start`, which makes it anew from what has finished"
        )
    finished = results[results["trained"] > 0]
    if finished.empty:
        raise ArtifactError(f"{folder / 'runs.csv'}: no figures yet; run the suite with `{program()} start`")
    if baseline is not None:
        raise ConfigError(
            f"--baseline {baseline}: the suite's targets have no labels, so there are no gains; leave it out"
        )
    return LabelFreeTable(_by_task(finished, list(dict.fromkeys(finished["task"]))))


def _by_task(rows: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Rows of a task stand together."""
    return rows.sort_values("task", key=lambda names: names.map(tasks.index), kind="stable")


def _mean_and_sd(row: pd.Series, name: str) -> dict[str, Number]:
    mean, sd = (
        None if pd.isna(row[f"{name}_{what}"]) else float(row[f"{name}_{what}"]) for what in ("mean", "sd")
    )
    return {name: mean, f"{name}_sd": sd}
