"""The details of one experiment: every run, label-free figures, thresholds by round, priors, costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from pipeline.numerics import Size
from pipeline.report import images, tables
from pipeline.report.costs import cost_view, duration
from pipeline.report.guard_tables import taken_table
from pipeline.report.model import SELECTIONS, ExperimentRecord, ReportData
from pipeline.report.tables import NOT_RUN

SELECTION_TITLES = {"last": "last step", "label_free": "label-free choice", "oracle_best": "oracle best"}


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, how strongly it is shaded (0..1), and what the pointer shows."""

    text: str
    shade: float | None = None
    note: str = ""


def details_view(item: ExperimentRecord, number: int) -> dict[str, Any]:
    """What the template shows of an experiment beside its curves."""
    costs = cost_view(item)
    return {
        "record": item,
        "id": f"e{number}",
        "summary": _summary(item),
        "metrics": _metric_names(item),
        "runs": _runs(item),
        "figures": _label_free(item),
        "taken": (taken := _taken(item)),
        "judged": any(any(row["truth"]) for row in taken),
        "headline": item.headline,
        "ranking": [(place, one.seed) for place, one in enumerate(item.rankings)],
        "share": item.rankings[0].easy_share if item.rankings else 0,
        "thresholds": _thresholds(item),
        "priors": [(one.title, images.value_map(one.values, _size(one.values))) for one in item.priors],
        "costs": costs,
        "total": duration(sum(one["seconds"] for one in costs)),
    }


def _summary(item: ExperimentRecord) -> str:
    final = item.stages[-1].stage
    figure = tables.spread(item.value(final, seed, item.test_modes[0]) for seed in item.seeds)
    if figure:
        return f"{item.headline} {figure} %"
    return tables.NO_LABELS if any(run.stage == final for run in item.runs) else NOT_RUN


def _metric_names(item: ExperimentRecord) -> list[str]:
    names = {name: None for run in item.runs for score in run.scores.values() for name in score.metrics}
    return [item.headline, *(name for name in names if name != item.headline)]


def _runs(item: ExperimentRecord) -> list[dict[str, Any]]:
    """Every planned cell: one row per selection, or a single row that says why there is none."""
    rows: list[dict[str, Any]] = []
    for name in item.stages:
        for mode in item.test_modes:
            for seed in item.seeds:
                head = {"stage": name.stage, "method": name.method, "seed": seed, "test_mode": mode}
                run = item.result_of(name.stage, seed, mode)
                if run is None or not run.scores:
                    missing = tables.NO_LABELS if run else NOT_RUN
                    rows.append(
                        {**head, "selection": None, "missing": missing, "key": run.key if run else ""}
                    )
                    continue
                for selection in (choice for choice in SELECTIONS if choice in run.scores):
                    score = run.scores[selection]
                    values = [score.metrics.get(metric) for metric in _metric_names(item)]
                    shown = ["" if value is None else f"{value:.2f}" for value in values]
                    absent = sum(value is None for value in score.per_class.values())
                    figure = {"selection": SELECTION_TITLES[selection], "oracle": selection == "oracle_best"}
                    rows.append(
                        {
                            **head,
                            **figure,
                            "step": score.step,
                            "values": shown,
                            "absent": absent,
                            "key": run.key,
                        }
                    )
    return rows


def _label_free(item: ExperimentRecord) -> dict[str, Any] | None:
    names = list(dict.fromkeys(name for run in item.runs for name in run.label_free_figures))
    if not names:
        return None
    rows = [
        {
            "stage": run.stage,
            "seed": run.seed,
            "values": [_number(run.label_free_figures.get(n)) for n in names],
        }
        for run in item.runs
        if run.label_free_figures
    ]
    return {"names": names, "rows": rows}


def _taken(item: ExperimentRecord) -> list[dict[str, Any]]:
    """What the guard took for each seed and test mode, beside the truth."""
    rows = taken_table(ReportData((item,))).to_dict("records")
    judged = {True: "right", False: "wrong"}
    return [
        {
            **{name: str(row[name]) for name in ("seed", "test_mode", "source_only", "adapted", "taken")},
            "criterion": str(row["criterion"]).replace("_", " "),
            "values": [_number(row[f"{name}_value"]) for name in ("source_only", "adapted")],
            "truth": [_percent(row[f"{name}_last"]) for name in ("source_only", "adapted")],
            "right": judged.get(row["right"], "no labels"),
        }
        for row in rows
    ]


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _thresholds(item: ExperimentRecord) -> dict[str, Any] | None:
    if item.thresholds is None or item.thresholds.empty:
        return None
    columns = ["threshold", "selected", "count", "portion"]
    means = item.thresholds.groupby(["round", "class"], sort=False)[columns].mean().reset_index()
    by_cell = {(row["round"], row["class"]): row for row in means.to_dict("records")}
    portions = means.groupby("round")["portion"].mean().sort_index().to_dict()
    known = [name for name in item.class_names if any(name == other for _, other in by_cell)]
    rows = [
        {"class": name, "cells": [_threshold_cell(by_cell.get((turn, name)), name) for turn in portions]}
        for name in known
    ]
    return {"rounds": list(portions.items()), "rows": rows}


def _threshold_cell(row: Mapping[Any, Any] | None, name: str) -> Cell:
    if row is None:
        return Cell("")
    note = f"{row['count']:,.0f} pixels predicted as {name}, {100 * row['selected']:.1f} % of them kept"
    text = f"{row['threshold']:.3f} ({100 * row['selected']:.0f} %)"
    return Cell(text, float(row["threshold"]), note)


def _size(array: NDArray[Any]) -> Size:
    return array.shape[0], array.shape[1]
