"""A suite's table as LaTeX (package booktabs), Markdown or CSV."""

import csv
import io
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Number = str | float | int | None
"""What a cell of a CSV file holds."""

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}


@dataclass(frozen=True)
class Line:
    """A row as text; `best`: its first figure is bold."""

    task: str
    labels: tuple[str, ...]
    figures: tuple[str, ...]
    best: bool = False


class SuiteTable(Protocol):
    """What can be written: names of the columns, rows by task as text and as numbers, and what the figures are."""

    @property
    def caption(self) -> str:
        """What the figures are."""

    @property
    def labels(self) -> list[str]:
        """Names of the columns behind the task."""

    @property
    def figures(self) -> list[str]:
        """Names of the figures' columns."""

    def lines(self) -> list[Line]:
        """The rows; those of a task stand together."""

    def numbers(self) -> list[dict[str, Number]]:
        """The rows with each number in a column of its own."""


def latex(table: SuiteTable) -> str:
    """A `table` environment with its caption; the best figure of each task is bold."""
    names = ["task", *table.labels, *table.figures]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\begin{{tabular}}{{{'l' * (1 + len(table.labels))}{'r' * len(table.figures)}}}",
        r"\toprule",
        " & ".join(map(_escaped, names)) + r" \\",
    ]
    for task, rows in itertools.groupby(table.lines(), key=lambda row: row.task):
        lines.append(r"\midrule")
        for number, row in enumerate(rows):
            figure, *rest = map(_escaped, row.figures)
            cells = [
                _escaped("" if number else task),
                *map(_escaped, row.labels),
                rf"\textbf{{{figure}}}" if row.best else figure,
                *rest,
            ]
            lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def markdown(table: SuiteTable) -> str:
    """A table of pipes and its caption below."""
    names = ["task", *table.labels, *table.figures]
    rows = [names, ["---"] * (1 + len(table.labels)) + ["---:"] * len(table.figures)]
    for row in table.lines():
        figure, *rest = row.figures
        rows.append([row.task, *row.labels, f"**{figure}**" if row.best else figure, *rest])
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", table.caption]) + "\n"


def csv_text(table: SuiteTable) -> str:
    """One line per row with all numbers, each in a column of its own."""
    text = io.StringIO()
    rows = table.numbers()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row.values()])
    return text.getvalue()


FORMATS: dict[str, Callable[[SuiteTable], str]] = {"latex": latex, "markdown": markdown, "csv": csv_text}


def _escaped(text: str) -> str:
    special = re.sub(r"[\\~^±&%$#_{}]", lambda match: _LATEX.get(match[0], "\\" + match[0]), text)
    return re.sub(r"(?<![\w$])([<>-])(?=\s?\d)", r"$\1$", special)
