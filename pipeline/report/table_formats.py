"""A paper's table as LaTeX (package booktabs), Markdown or CSV."""

import csv
import io
import itertools
import re
from collections.abc import Callable

from pipeline.report.paper_table import PaperTable, Row

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}


def latex(table: PaperTable) -> str:
    """A `table` environment with its caption; the best figure of each task is bold."""
    names = ["task", *table.labels, table.metric, "gain", "p"]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\begin{{tabular}}{{{'l' * (1 + len(table.labels))}rrr}}",
        r"\toprule",
        " & ".join(map(_escaped, names)) + r" \\",
    ]
    for task, rows in itertools.groupby(table.rows, key=lambda row: row.task):
        lines.append(r"\midrule")
        for number, row in enumerate(rows):
            figure, *rest = map(_escaped, _figures(row))
            cells = [
                _escaped("" if number else task),
                *map(_escaped, row.labels.values()),
                rf"\textbf{{{figure}}}" if row.best else figure,
                *rest,
            ]
            lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def markdown(table: PaperTable) -> str:
    """A table of pipes and its caption below."""
    names = ["task", *table.labels, table.metric, "gain", "p"]
    rows = [names, ["---"] * (1 + len(table.labels)) + ["---:"] * 3]
    for row in table.rows:
        figure, *rest = _figures(row)
        rows.append([row.task, *row.labels.values(), f"**{figure}**" if row.best else figure, *rest])
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", table.caption]) + "\n"


def csv_text(table: PaperTable) -> str:
    """One line per row with all numbers, each in a column of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = ["metric", "n", "mean", "sd", "gain", "gain_sd", "pairs", "p", "best"]
    writer.writerow(
        ["experiment", "task", *(name for name in table.labels if name != "experiment"), *numbers]
    )
    for row in table.rows:
        labels = [value for name, value in row.labels.items() if name != "experiment"]
        gain = [row.gain.mean, row.gain.sd, row.gain.count] if row.gain else [None, None, 0]
        figure = [row.metric, row.figure.count, row.figure.mean, row.figure.sd]
        cells = [row.experiment, row.task, *labels, *figure, *gain, row.p, int(row.best)]
        writer.writerow([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in cells])
    return text.getvalue()


FORMATS: dict[str, Callable[[PaperTable], str]] = {"latex": latex, "markdown": markdown, "csv": csv_text}


def _figures(row: Row) -> list[str]:
    """Figure, gain and p as text; empty where there is none."""
    if row.gain is None:
        return [str(row.figure), "", ""]
    gain = str(row.gain) if row.gain.mean < 0 else f"+{row.gain}"
    return [str(row.figure), gain, "" if row.p is None else _p(row.p)]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _escaped(text: str) -> str:
    special = re.sub(r"[\\~^±&%$#_{}]", lambda match: _LATEX.get(match[0], "\\" + match[0]), text)
    return re.sub(r"(?<![\w$])([<>-])(?=\s?\d)", r"$\1$", special)
