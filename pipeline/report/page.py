"""The report page: one self-contained HTML file that opens without a network.

python -m pipeline run results/stages/report-SUITE.json      (`collect.publish` calls `build_report`)
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from pipeline.artifacts.files import write_text
from pipeline.artifacts.program import program
from pipeline.report import tables
from pipeline.report.comparison import (
    Row,
    best_adapted,
    best_row,
    class_view,
    further_metrics,
    line_view,
    predicted_shares,
    row_data,
    rows_of,
)
from pipeline.report.costs import duration
from pipeline.report.curve_data import ranking_data, stage_curves
from pipeline.report.dataset_view import dataset_view
from pipeline.report.details import details_view
from pipeline.report.gallery_view import gallery_view
from pipeline.report.guard_tables import count_right, swap_lines
from pipeline.report.model import SELECTIONS, ExperimentRecord, ReportData
from pipeline.report.summary import summary_view
from pipeline.report.tables import NOT_RUN
from pipeline.report.templating import asset, render_template
from pipeline.report.unlabelled import HEADINGS, compared_rows, is_unlabelled, label_free_cells

SCRIPTS = ("core.js", "compare.js", "gallery.js", "curves.js", "ranking.js")
MANY_ROWS = 12
"""With more rows than this only the final stages are shown at first."""


def build_report(data: ReportData, out: Path) -> Path:
    """Write the page as `out`, atomically, and return it; the tables lie in `tables.write_tables`."""
    write_text(out, render(data))
    return out


def render(data: ReportData) -> str:
    """Return the page as HTML text."""
    tasks = tables.by_taxonomy(data)
    views, read = [], []
    for number, (name, members) in enumerate(tasks):
        view, numbers = _task(data, name, members, 1 / len(tasks))
        views.append({**view, "number": number})
        read.append(numbers)
    curves = [stage_curves(item) for item in data.experiments]
    experiments = [
        {**details_view(item, number), "curves": [one["title"] for one in curves[number]]}
        for number, item in enumerate(data.experiments)
    ]
    drawn = [
        {"curves": found, "rankings": [ranking_data(one) for one in item.rankings]}
        for found, item in zip(curves, data.experiments, strict=True)
    ]
    return render_template(
        "report.html",
        data=data,
        program=program(),
        swaps=swap_lines(data),
        judged=count_right(data),
        tasks=views,
        experiments=experiments,
        total=duration(sum(_seconds(data))),
        not_run=NOT_RUN,
        numbers=_embedded({"tasks": read, "experiments": drawn}),
        script=Markup("\n").join(asset(name) for name in SCRIPTS),
    )


def _seconds(data: ReportData) -> list[float]:
    """What each artifact on the page took; those that experiments share once."""
    return list({cost.key: cost.seconds for item in data.experiments for cost in item.costs}.values())


def _embedded(values: Any) -> Markup:
    """JSON that no text in it can end early; numbers that are none are null."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _task(
    data: ReportData, name: str, members: list[ExperimentRecord], share: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the template shows of a task, and what the scripts read."""
    rows = rows_of(data, members)
    best, first = best_row(rows), members[0]
    gallery = gallery_view(rows, share)
    view = {
        "name": name,
        "input": first.input,
        "metric": first.headline,
        "summary": summary_view(data, name, rows),
        "several_modes": len({row.mode for row in rows}) > 1,
        "test_mode": rows[0].mode,
        "several_networks": len({row.experiment.network for row in rows}) > 1,
        "networks": ", ".join(dict.fromkeys(row.experiment.network for row in rows)),
        "guarded": any(pd.notna(row.line["taken_mean"]) for row in rows),
        "baselines": list(dict.fromkeys(str(row.line["baseline"]) for row in rows if row.gain is not None)),
        "further": further_metrics(first),
        "unlabelled": is_unlabelled(rows),
        "headings": HEADINGS,
        "rows": [{**line_view(row, best), "label_free_figures": label_free_cells(row)} for row in rows],
        "snapshots": any(pd.notna(row.line[f"{name}_mean"]) for row in rows for name in SELECTIONS[1:]),
        "names": [row.name for row in rows],
        "shown": rows.index(best) if best else 0,
        "only_finals": len(rows) > MANY_ROWS,
        "has_classes": first.kind != "classification" and any(row.mean is not None for row in rows),
        "has_matrix": any(row.mean is not None for row in rows),
        "class_table": _class_table(rows, first) if first.kind != "classification" else None,
        "gallery": gallery[0] if gallery else None,
        "legend": class_view(members),
        "dataset": _dataset(rows, first) if first.sides else None,
    }
    read = {"rows": row_data(data, rows), "classes": class_view(members), "gallery": gallery and gallery[1]}
    return view, read


def _dataset(rows: Sequence[Row], first: ExperimentRecord) -> dict[str, Any]:
    """The data, with what the best adapted row and its source stage make of the target."""
    adapted = (
        compared_rows(rows)[1]
        if is_unlabelled(rows)
        else best_adapted(rows) or next((row for row in reversed(rows) if row.runs), rows[-1])
    )
    chain = (row for row in rows if row.experiment is adapted.experiment and row.mode == adapted.mode)
    shares = {row.name: predicted_shares(row) for row in chain if not row.is_adapted or row is adapted}
    known = {name: found for name, found in shares.items() if found is not None}
    return dataset_view(first.sides, first.palette, _warnings(first), known)


def _warnings(item: ExperimentRecord) -> list[str]:
    return [f"{role}: {line}" for role, side in item.sides.items() for line in side.warnings()]


def _class_table(rows: list[Row], first: ExperimentRecord) -> dict[str, Any] | None:
    """IoU of every class and row as a table; None without figures."""
    if not any(row.mean is not None for row in rows):
        return None
    lines = [
        {
            "name": row.name,
            "run": row.mean is not None,
            "values": row.class_means(),
            "mean": _mean_of_classes(row),
        }
        for row in rows
    ]
    return {"classes": first.class_names, "lines": lines}


def _mean_of_classes(row: Row) -> float | None:
    known = tables.spread(row.class_means())
    return known.mean if known else None
