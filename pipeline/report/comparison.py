"""A task's rows as the page compares them: figures by seed, classes, confusion matrices, and what to say first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.report import images, tables
from pipeline.report.model import ExperimentRecord, ReportData, StageName, StageResult

Names = tuple[str, str, str]
"""Experiment, stage, test mode."""


@dataclass(frozen=True)
class Row:
    """One training stage in one test mode, over its seeds; `line`: what `tables.results_table` says of it."""

    experiment: ExperimentRecord
    stage: StageName
    mode: str
    line: pd.Series

    @property
    def names(self) -> Names:
        """What tells it from every other row."""
        return self.experiment.name, self.stage.stage, self.mode

    @property
    def name(self) -> str:
        """Its name in a list."""
        mode = f" ({self.mode})" if len(self.experiment.test_modes) > 1 else ""
        return f"{self.experiment.name} / {self.stage.stage}{mode}"

    @property
    def is_final(self) -> bool:
        """Whether it is the model to take away."""
        return self.stage == self.experiment.stages[-1]

    @property
    def is_adapted(self) -> bool:
        """Whether it is more than the source stage, the first of its chain."""
        return self.stage != self.experiment.stages[0]

    @property
    def runs(self) -> list[StageResult]:
        """What was run of it, by seed."""
        found = (
            self.experiment.result_of(self.stage.stage, seed, self.mode) for seed in self.experiment.seeds
        )
        return [run for run in found if run is not None]

    @property
    def mean(self) -> float | None:
        """The headline figure of the last step, mean over seeds, in percent."""
        return None if pd.isna(self.line["last_mean"]) else float(self.line["last_mean"])

    @property
    def gain(self) -> float | None:
        """Mean paired gain over the baseline."""
        return None if pd.isna(self.line["gain_mean"]) else float(self.line["gain_mean"])

    def class_means(self) -> list[float | None]:
        """IoU in percent of every class, mean over seeds; None where it is absent."""
        last = [run.scores["last"] for run in self.runs if "last" in run.scores]
        means = (
            tables.spread(score.per_class.get(name) for score in last) for name in self.experiment.class_names
        )
        return [None if figure is None else round(figure.mean, 2) for figure in means]

    def matrix(self) -> list[list[int]] | None:
        """Pixels by label and prediction, added over seeds; None without figures."""
        found = [run.scores["last"].confusion for run in self.runs if "last" in run.scores]
        known = [matrix for matrix in found if matrix is not None]
        matrix: list[list[int]] = np.sum(known, axis=0).tolist() if known else []
        return matrix or None


def predicted_shares(row: Row) -> list[float] | None:
    """The share of each class in what a row's last step says; None where nothing was kept of it.

    Of the evaluation split's labelled pixels, added over seeds; without labels of the target images that `select`
    kept, of one seed.
    """
    matrix, classes = row.matrix(), len(row.experiment.class_names)
    if matrix is not None:
        counts = np.sum(matrix, axis=0)
    else:
        maps = [answer.classes for run in row.runs for answer in run.answers.values()]
        counts = sum(
            (np.bincount(one.ravel(), minlength=classes) for one in maps), np.zeros(classes, np.int64)
        )
    total = counts.sum()
    return (counts / total).tolist() if total else None


def rows_of(data: ReportData, members: Sequence[ExperimentRecord]) -> list[Row]:
    """The rows of experiments on one task, in the order of `tables.results_table`."""
    lines = tables.results_table(data)
    by_names = {(line["experiment"], line["stage"], line["test_mode"]): line for _, line in lines.iterrows()}
    return [
        Row(one, stage, mode, by_names[one.name, stage.stage, mode])
        for one in members
        for stage in one.stages
        for mode in one.test_modes
    ]


def best_row(rows: Sequence[Row]) -> Row | None:
    """The row with the highest figure that had no label of the target, source stages too; None without figures."""
    known = [row for row in rows if row.mean is not None and not row.experiment.target_labels]
    return max(known, key=lambda row: (row.mean or 0.0, row.is_final), default=None)


def best_adapted(rows: Sequence[Row]) -> Row | None:
    """The best of the rows that are adapted; None without one."""
    return best_row([row for row in rows if row.is_adapted])


def difference(row: Row, other: Row) -> tables.Spread | None:
    """Row minus other, paired by seed; None without any pair."""
    ours, theirs = _by_seed(row), _by_seed(other)
    return tables.spread(ours[seed] - theirs[seed] for seed in ours if seed in theirs)


def row_data(data: ReportData, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What the page's script computes gains, class bars and confusion matrices from."""
    places = {row.names: place for place, row in enumerate(rows)}
    return [
        {
            "name": row.name,
            "values": _by_seed(row),
            "baseline": _baseline_place(data, row, places),
            "classes": row.class_means(),
            "matrix": row.matrix(),
        }
        for row in rows
    ]


def _by_seed(row: Row) -> dict[int, float]:
    headline = row.experiment.headline
    return {run.seed: round(run.scores["last"].metrics[headline], 4) for run in row.runs if run.scores}


def _baseline_place(data: ReportData, row: Row, places: dict[Names, int]) -> int | None:
    baseline = tables.baseline_of(data, row.experiment)
    if baseline is None:
        return None
    return places.get((baseline.experiment.name, baseline.stage, row.mode))


def line_view(row: Row, best: Row | None) -> dict[str, Any]:
    """One line of the comparison table."""
    line = row.line
    return {
        "experiment": row.experiment.name,
        "stage": row.stage.stage,
        "method": row.stage.method,
        "mode": row.mode,
        "network": row.experiment.network,
        "final": row.is_final,
        "best": row is best,
        "seeds": f"{line['trained']} of {line['planned']}"
        if line["trained"] != line["planned"]
        else line["trained"],
        "run": row.mean is not None,
        "last": tables.cell(line, "last", tables.missing_figure(line)),
        "last_value": "" if row.mean is None else row.mean,
        "gain": tables.cell(line, "gain", "", sign=True),
        "gain_sign": "" if row.gain is None else ("up" if row.gain > 0 else "down"),
        "pairs": line["gain_pairs"],
        "baseline": line["baseline"],
        "label_free": tables.cell(line, "label_free", ""),
        "oracle_best": tables.cell(line, "oracle_best", ""),
        "taken": tables.cell(line, "taken", ""),
        "further": [
            tables.spread(run.scores["last"].metrics.get(name) for run in row.runs if run.scores)
            for name in further_metrics(row.experiment)
        ],
    }


def further_metrics(experiment: ExperimentRecord) -> list[str]:
    """The headline metric on further splits and over subsets of classes, by the names that runs give them."""
    names = {name: None for run in experiment.runs for score in run.scores.values() for name in score.metrics}
    return [name for name in names if name.startswith(f"{experiment.headline} ")]


def class_view(members: Sequence[ExperimentRecord]) -> list[dict[str, str]]:
    """The classes of a task with their colors."""
    first = members[0]
    return [
        {"name": name, "color": images.css_color(first.palette[place])}
        for place, name in enumerate(first.class_names)
    ]
