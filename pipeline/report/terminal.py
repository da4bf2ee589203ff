"""The results as text for the terminal, one block for each task."""

import pandas as pd

from pipeline.report.comparison import rows_of
from pipeline.report.guard_tables import count_right, swap_lines
from pipeline.report.label_free import recommended
from pipeline.report.model import ReportData
from pipeline.report.model_hint import model_hint
from pipeline.report.tables import LABEL_FREE, by_taxonomy, cell, missing_figure, results_table


def text_table(data: ReportData) -> str:
    """Return the results as plain text for a terminal, one block per task."""
    blocks = []
    results = results_table(data)
    for task in dict.fromkeys(experiment.task for experiment in data.experiments):
        rows = results[results["task"] == task]
        metric = rows["metric"].iloc[0]
        header = [
            "experiment",
            "stage",
            "test mode",
            "seeds",
            f"{metric} %, last step",
            "gain",
            "label-free",
            "oracle",
        ]
        body = [_text_row(row) for _, row in rows.iterrows()]
        if rows["taken_mean"].notna().any():
            header.append("taken")
            body = [
                [*line, cell(row, "taken", "")] for line, (_, row) in zip(body, rows.iterrows(), strict=True)
            ]
        if not rows["seeds"].any() and rows["trained"].any():
            header, body = _without_labels(rows)
        scored = next(experiment.input for experiment in data.experiments if experiment.task == task)
        blocks.append(f"{task}, {scored}\n{_aligned([header, *body])}")
    if judged := [*swap_lines(data), *filter(None, [count_right(data)])]:
        blocks.append("\n".join(judged))
    blocks += hints(data)
    if data.unfinished:
        stopped = [f"{one.waiting}: {one.stage}: {one.reason}" for one in data.unfinished]
        blocks.append(
            "\n".join(["not finished (what failed is tried again once its cause is gone)", *stopped])
        )
    return "\n\n".join(blocks) + "\n"


def hints(data: ReportData) -> list[str]:
    """One line for each task whose best stage no folder `model/` holds: how to get its model."""
    lines = []
    for _, members in by_taxonomy(data):
        best = recommended(rows_of(data, members))
        hint = None if best is None else model_hint(data, best)
        if best is not None and hint is not None:
            verb = "seems" if best.mean is None else "is"
            lines.append(f"{best.name} {verb} the best; {hint.said}{hint.line and ': '}{hint.line}")
    return lines


def _without_labels(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a task whose target has no labels: the figures that need none."""
    header = ["experiment", "stage", "seeds", "figures", *LABEL_FREE.values()]
    body = [
        [
            str(row["experiment"]),
            f"{row['stage']} ({row['method']})",
            f"{row['trained']}/{row['planned']}",
            missing_figure(row),
            *(cell(row, name, "", digits=4) for name in LABEL_FREE),
        ]
        for _, row in rows.iterrows()
    ]
    return header, body


def _text_row(row: pd.Series) -> list[str]:
    return [
        str(row["experiment"]),
        f"{row['stage']} ({row['method']})",
        str(row["test_mode"]),
        f"{row['seeds']}/{row['planned']}",
        cell(row, "last", missing_figure(row)),
        cell(row, "gain", "", sign=True),
        cell(row, "label_free", ""),
        cell(row, "oracle_best", ""),
    ]


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
