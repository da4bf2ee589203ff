"""The report's tables as data frames, for the page, for CSV and JSON, and for `terminal`.

Spread is the sample standard deviation over seeds (divisor n - 1) and is missing for one seed. A gain is
paired: the mean over seeds of (stage minus baseline) on the seeds that have both.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.artifacts.files import write_json, write_text
from pipeline.report.coefficients import coefficient
from pipeline.report.guard_tables import taken_table
from pipeline.report.model import SELECTIONS, ExperimentRecord, ReportData, StageResult

NOT_RUN = "not run"
NO_LABELS = "no labels"
LABEL_FREE = {
    "entropy": "entropy (low: sure)",
    "information_maximisation": "information maximisation (high)",
    "uncertainty_coefficient": "uncertainty coefficient (high)",
}
"""Figures that need no labels, and how a table heads them."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of `count` values; the deviation is None for fewer than two."""

    mean: float
    sd: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.sd is None else f"{self.mean:.2f} ± {self.sd:.2f}"


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return mean and sample standard deviation of the values that are there; None without any."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return Spread(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1)
    return Spread(mean, math.sqrt(variance), len(known))


@dataclass(frozen=True)
class Baseline:
    """The stage that an experiment's gains are measured from."""

    experiment: ExperimentRecord
    stage: str


def baseline_of(data: ReportData, experiment: ExperimentRecord) -> Baseline | None:
    """Return the first stage of a chain: the experiment's own or, for a single stage, one on the same task.

    A single-stage experiment is compared with the first chain on the same task and network, unless that first
    stage is the very artifact of the experiment itself. None where there is nothing to compare with.
    """
    if len(experiment.stages) > 1:
        return Baseline(experiment, experiment.stages[0].stage)
    own = {run.key for run in experiment.runs}
    for other in data.experiments:
        if (other.task, other.network) != (experiment.task, experiment.network) or len(other.stages) < 2:
            continue
        stage = other.stages[0].stage
        if own & {run.key for run in other.runs if run.stage == stage}:
            return None
        return Baseline(other, stage)
    return None


def gain(
    baseline: Baseline | None, experiment: ExperimentRecord, stage: str, test_mode: str
) -> Spread | None:
    """Return the paired gain of a stage over the baseline, `last` against `last`; None without any pair."""
    if baseline is None or (baseline.experiment is experiment and baseline.stage == stage):
        return None
    pairs = (
        (experiment.value(stage, seed, test_mode), baseline.experiment.value(baseline.stage, seed, test_mode))
        for seed in experiment.seeds
    )
    return spread(ours - base for ours, base in pairs if ours is not None and base is not None)


def runs_table(data: ReportData) -> pd.DataFrame:
    """Return one row per experiment, stage, seed, test mode, selection and metric; unrun cells say so.

    Columns: experiment, task, recipe, network, stage, method, seed, test_mode, selection, step, metric, value
    (percent), status (`done`, `not run`, or `no labels`: run, but nothing to score it on), key; behind them one
    for every swept parameter, by its dotted path.
    """
    rows = []
    swept = dict.fromkeys(path for experiment in data.experiments for path in experiment.swept)
    for experiment in data.experiments:
        for name, seed, mode in _cells(experiment):
            run = experiment.result_of(name.stage, seed, mode)
            head = {
                "experiment": experiment.name,
                "task": experiment.task,
                "recipe": experiment.recipe,
                "network": experiment.network,
                "stage": name.stage,
                "method": name.method,
                "seed": seed,
                "test_mode": mode,
                **{path: _said(value) for path, value in experiment.swept.items()},
            }
            if run is None or not run.scores:
                status = NOT_RUN if run is None else NO_LABELS
                rows.append({**head, "metric": experiment.headline, "status": status})
                continue
            for selection, score in run.scores.items():
                for metric, value in score.metrics.items():
                    figure = {"selection": selection, "step": score.step, "metric": metric, "value": value}
                    rows.append({**head, **figure, "status": "done", "key": run.key})
    columns = (
        "experiment task recipe network stage method seed test_mode selection step metric value status key"
    )
    return pd.DataFrame(rows, columns=[*columns.split(), *swept]).astype({"step": "Int64"})


def _said(value: object) -> str:
    """A swept value as its configuration says it."""
    return value if isinstance(value, str) else json.dumps(value)


def _cells(experiment: ExperimentRecord) -> list[tuple]:
    return [
        (name, seed, mode)
        for name in experiment.stages
        for mode in experiment.test_modes
        for seed in experiment.seeds
    ]


def results_table(data: ReportData) -> pd.DataFrame:
    """Return one row per experiment, stage and test mode: headline metric over seeds and its gain.

    Columns: experiment, task, network, stage, method, test_mode, metric, seeds (run), planned (seeds), for
    each selection `<selection>_mean` and `<selection>_sd`, `taken_mean` and `taken_sd` (the last step of what
    `model/` holds, where a guard chose it), trained (seeds run, scored or not), mean and sd of each of
    `LABEL_FREE`, gain_mean, gain_sd, gain_pairs, baseline.
    Figures that do not exist are NaN.
    """
    rows = []
    for experiment in data.experiments:
        baseline = baseline_of(data, experiment)
        for name in experiment.stages:
            for mode in experiment.test_modes:
                rows.append(_result_row(experiment, baseline, name.stage, name.method, mode))
    return pd.DataFrame(rows)


def _result_row(
    experiment: ExperimentRecord, baseline: Baseline | None, stage: str, method: str, mode: str
) -> dict[str, object]:
    row: dict[str, object] = {
        "experiment": experiment.name,
        "task": experiment.task,
        "network": experiment.network,
        "stage": stage,
        "method": method,
        "test_mode": mode,
        "metric": experiment.headline,
        "planned": len(experiment.seeds),
    }
    for selection in SELECTIONS:
        figure = spread(experiment.value(stage, seed, mode, selection) for seed in experiment.seeds)
        row["seeds"] = figure.count if selection == "last" and figure else row.get("seeds", 0)
        row[f"{selection}_mean"] = figure.mean if figure else None
        row[f"{selection}_sd"] = figure.sd if figure else None
    kept = spread(experiment.taken_value(stage, seed, mode) for seed in experiment.seeds)
    row["taken_mean"], row["taken_sd"] = (kept.mean, kept.sd) if kept else (None, None)
    runs = [run for seed in experiment.seeds if (run := experiment.result_of(stage, seed, mode)) is not None]
    row["trained"] = len(runs)
    for name in LABEL_FREE:
        sure = spread(_label_free_figure(experiment, run, name) for run in runs)
        row[f"{name}_mean"], row[f"{name}_sd"] = (sure.mean, sure.sd) if sure else (None, None)
    paired = gain(baseline, experiment, stage, mode)
    row["gain_mean"] = paired.mean if paired else None
    row["gain_sd"] = paired.sd if paired else None
    row["gain_pairs"] = paired.count if paired else 0
    row["baseline"] = f"{baseline.experiment.name} / {baseline.stage}" if paired and baseline else None
    return row


def _label_free_figure(experiment: ExperimentRecord, run: StageResult, name: str) -> float | None:
    if name == "uncertainty_coefficient":
        return coefficient(experiment, run.stage, run.seed, run.test_mode)
    return run.label_free_figures.get(name)


def per_class_table(experiments: Sequence[ExperimentRecord]) -> pd.DataFrame:
    """Return per-class IoU in percent of the last step, mean over seeds, for experiments of one taxonomy.

    Columns: experiment, stage, test_mode, one per class, and `mean of classes`, the mean of the printed
    columns (absent classes left out), which lets a reader check the row. Rows that were not run are NaN.
    """
    rows = []
    for experiment in experiments:
        for name in experiment.stages:
            for mode in experiment.test_modes:
                rows.append(_class_row(experiment, name.stage, mode))
    return pd.DataFrame(rows)


def _class_row(experiment: ExperimentRecord, stage: str, mode: str) -> dict[str, object]:
    runs = [experiment.result_of(stage, seed, mode) for seed in experiment.seeds]
    last = [run.scores["last"] for run in runs if run and "last" in run.scores]
    row: dict[str, object] = {"experiment": experiment.name, "stage": stage, "test_mode": mode}
    means = {name: spread(score.per_class.get(name) for score in last) for name in experiment.class_names}
    row.update({name: figure.mean if figure else None for name, figure in means.items()})
    overall = spread(figure.mean for figure in means.values() if figure)
    row["mean of classes"] = overall.mean if overall else None
    return row


def by_taxonomy(data: ReportData) -> list[tuple[str, list[ExperimentRecord]]]:
    """Group the experiments by task and class list, in the order of the configuration."""
    groups: dict[tuple[str, tuple[str, ...]], list[ExperimentRecord]] = {}
    for experiment in data.experiments:
        groups.setdefault((experiment.task, experiment.class_names), []).append(experiment)
    return [(task, members) for (task, _), members in groups.items()]


def missing_figure(row: pd.Series) -> str:
    """Say why a results row has no figure: it was not run, or there are no labels to score it on."""
    return NO_LABELS if row["trained"] else NOT_RUN


def cell(row: pd.Series, prefix: str, missing: str, sign: bool = False, digits: int = 2) -> str:
    """Format `<prefix>_mean` and `<prefix>_sd` of a results row as `mean ± sd`."""
    mean, sd = row[f"{prefix}_mean"], row[f"{prefix}_sd"]
    if pd.isna(mean):
        return missing
    text = f"{mean:+.{digits}f}" if sign else f"{mean:.{digits}f}"
    return text if pd.isna(sd) else f"{text} ± {sd:.{digits}f}"


def write_tables(data: ReportData, folder: Path) -> list[Path]:
    """Write `runs`, `results`, `taken` and each task's `per_class-<n>` into `folder` as CSV and JSON, atomically."""
    written = []
    tables = {"runs": runs_table(data), "results": results_table(data), "taken": taken_table(data)}
    for number, (_, members) in enumerate(by_taxonomy(data), start=1):
        tables[f"per_class-{number}"] = per_class_table(members)
    for name, table in tables.items():
        write_text(
            folder / f"{name}.csv", table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
        )
        write_json(folder / f"{name}.json", json.loads(table.to_json(orient="records", double_precision=10)))
        written += [folder / f"{name}.csv", folder / f"{name}.json"]
    return written
