"""The report page: one self-contained HTML file that opens without a network.

python -m pipeline run results/stages/<key>.json      (the stage `report` calls `build_report`)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.artifacts.files import write_text
from pipeline.numerics import Size
from pipeline.report import images, plots, tables
from pipeline.report.guard_tables import count_right, swap_lines, taken_table
from pipeline.report.model import SELECTIONS, ExperimentRecord, GalleryRow, ReportData
from pipeline.report.tables import NOT_RUN
from pipeline.report.templating import render_template

SELECTION_TITLES = {"last": "last step", "label_free": "label-free choice", "oracle_best": "oracle best"}
GALLERY_COLUMNS = ("image", "label", "source-only", "adapted", "entropy")
OPEN_EXPERIMENTS = 3
"""With more experiments than this their details start folded."""


def build_report(data: ReportData, out: Path) -> Path:
    """Write the page as `out`, atomically, and return it; the tables lie in `tables.write_tables`."""
    write_text(out, render(data))
    return out


def render(data: ReportData) -> str:
    """Return the page as HTML text."""
    return render_template(
        "report.html",
        data=data,
        swaps=swap_lines(data),
        judged=count_right(data),
        tasks=_tasks(data),
        class_tables=_class_tables(data),
        experiments=[_details(data, number, item) for number, item in enumerate(data.experiments)],
        open_details=len(data.experiments) <= OPEN_EXPERIMENTS,
        gallery_columns=GALLERY_COLUMNS,
        not_run=NOT_RUN,
    )


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, how strongly it is shaded (0..1), and what the pointer shows."""

    text: str
    shade: float | None = None
    note: str = ""


def _tasks(data: ReportData) -> list[dict[str, Any]]:
    results = tables.results_table(data)
    found = []
    for task in dict.fromkeys(item.task for item in data.experiments):
        rows = results[results["task"] == task]
        found.append(
            {
                "name": task,
                "input": next(item.input for item in data.experiments if item.task == task),
                "metric": rows["metric"].iloc[0],
                "several_modes": rows["test_mode"].nunique() > 1,
                "test_mode": rows["test_mode"].iloc[0],
                "guarded": bool(rows["taken_mean"].notna().any()),
                "baselines": list(dict.fromkeys(rows["baseline"].dropna())),
                "rows": [_result(row) for _, row in rows.iterrows()],
            }
        )
    return found


def _result(row: pd.Series) -> dict[str, Any]:
    return {
        "experiment": row["experiment"],
        "network": row["network"],
        "stage": row["stage"],
        "method": row["method"],
        "test_mode": row["test_mode"],
        "seeds": f"{row['seeds']} of {row['planned']}"
        if row["seeds"] != row["planned"]
        else str(row["seeds"]),
        "run": row["seeds"] > 0,
        "last": tables.cell(row, "last", tables.missing_figure(row)),
        "gain": tables.cell(row, "gain", "", sign=True),
        "gain_sign": "" if pd.isna(row["gain_mean"]) else ("up" if row["gain_mean"] > 0 else "down"),
        "pairs": row["gain_pairs"],
        "baseline": row["baseline"],
        "label_free": tables.cell(row, "label_free", ""),
        "oracle_best": tables.cell(row, "oracle_best", ""),
        "taken": tables.cell(row, "taken", ""),
    }


def _class_tables(data: ReportData) -> list[dict[str, Any]]:
    found = []
    for task, members in tables.by_taxonomy(data):
        runs = [run for one in members for run in one.runs]
        if members[0].kind == "classification" or (runs and not any(run.scores for run in runs)):
            continue
        table = tables.per_class_table(members)
        values = table[[*members[0].class_names, "mean of classes"]].to_numpy(dtype=float)
        heads = table[["experiment", "stage", "test_mode"]].to_dict("records")
        rows = [
            {**head, "cells": [_shaded(value) for value in line], "run": not np.isnan(line).all()}
            for head, line in zip(heads, values, strict=True)
        ]
        found.append({"task": task, "classes": members[0].class_names, "rows": rows})
    return found


def _shaded(value: float) -> Cell:
    return Cell("", None) if np.isnan(value) else Cell(f"{value:.1f}", value / 100, f"{value:.2f} %")


def _details(data: ReportData, number: int, item: ExperimentRecord) -> dict[str, Any]:
    prefix = f"e{number}"
    return {
        "record": item,
        "id": prefix,
        "headline": item.headline,
        "summary": _summary(item),
        "metrics": _metric_names(item),
        "runs": _runs(item),
        "figures": _label_free(item),
        "taken": _taken(item),
        "curves": _curves(item, prefix),
        "ranking": _inline(plots.ranking_histogram(item.rankings, f"{prefix}-r")) if item.rankings else None,
        "thresholds": _thresholds(item, prefix),
        "confusions": _confusions(item),
        "priors": [(one.title, images.value_map(one.values, _size(one.values))) for one in item.priors],
        "gallery": [_tiles(item, row) for row in item.gallery],
        "legend": [
            (name, images.css_color(item.palette[index])) for index, name in enumerate(item.class_names)
        ],
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


def _curves(item: ExperimentRecord, prefix: str) -> list[tuple[str, Markup]]:
    found = []
    for number, name in enumerate(item.stages):
        first = {run.seed: run for run in reversed(item.runs) if run.stage == name.stage}
        runs = [first[seed] for seed in item.seeds if seed in first]
        svg = plots.curves(runs, item.headline, f"{prefix}-c{number}") if runs else None
        if svg:
            found.append((f"{name.stage} ({name.method})", _inline(svg)))
    return found


def _inline(svg: str) -> Markup:
    """Mark a plot as HTML; matplotlib escapes every text in it."""
    return Markup(svg)


def _thresholds(item: ExperimentRecord, prefix: str) -> dict[str, Any] | None:
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
    plot = plots.threshold_plot(item.thresholds, known, f"{prefix}-t")
    return {"rounds": list(portions.items()), "rows": rows, "plot": _inline(plot)}


def _threshold_cell(row: Mapping[Any, Any] | None, name: str) -> Cell:
    if row is None:
        return Cell("")
    note = f"{row['count']:,.0f} pixels predicted as {name}, {100 * row['selected']:.1f} % of them kept"
    return Cell(f"{row['threshold']:.3f}", float(row["threshold"]), note)


def _confusions(item: ExperimentRecord) -> list[dict[str, Any]]:
    """The confusion matrix of the last stage, summed over seeds, for classification and binary tasks."""
    if item.kind == "segmentation":
        return []
    stage, mode = item.stages[-1].stage, item.test_modes[0]
    runs = [item.result_of(stage, seed, mode) for seed in item.seeds]
    matrices = [run.scores["last"].confusion for run in runs if run and "last" in run.scores]
    known = [matrix for matrix in matrices if matrix is not None]
    if not known:
        return []
    return [
        {
            "title": f"{stage}, {len(known)} seed(s) added",
            "rows": _confusion_rows(item, np.sum(known, axis=0)),
        }
    ]


def _confusion_rows(item: ExperimentRecord, matrix: NDArray[np.int64]) -> list[dict[str, Any]]:
    rows = []
    for name, counts in zip(item.class_names, matrix, strict=True):
        total = max(1, int(counts.sum()))
        cells = [
            Cell(f"{count:,}", count / total, f"{100 * count / total:.1f} % of {name}") for count in counts
        ]
        rows.append({"class": name, "cells": cells})
    return rows


def _tiles(item: ExperimentRecord, row: GalleryRow) -> dict[str, Any]:
    size = _size(row.image)
    maps: Sequence[NDArray[np.uint8] | None] = (row.label, row.source_only, row.adapted)
    colored = [None if ids is None else images.label_map(ids, item.palette, size) for ids in maps]
    entropy = None if row.entropy is None else images.value_map(row.entropy, size)
    return {"name": row.name, "tiles": [images.photo(row.image), *colored, entropy]}


def _size(array: NDArray[np.uint8]) -> Size:
    return array.shape[0], array.shape[1]
