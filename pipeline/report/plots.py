"""The report's plots as inline SVG that takes its text color from the page, light or dark."""

import re
from collections.abc import Sequence
from io import StringIO
from math import ceil
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.model import RankingRecord, StageResult

COLORS = ("#2f7fc1", "#d9792b", "#3f9b57", "#b4497a", "#8265c4", "#8f7d2e", "#3aa3a8", "#c2504b")
"""Readable on white and on near-black."""

_TEXT = "#010203"  # replaced by `currentColor`
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.titlesize": 9.0,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": _TEXT,
    "text.parse_math": False,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
}
_HIDDEN = frozenset({"step", "seconds", "eta", "data_wait", "time"})
MAX_POINTS = 300
MAX_PANELS = 12
CSS_PIXELS_PER_INCH = 96


def curve_columns(runs: Sequence[StageResult]) -> list[str]:
    """Return the numeric columns of the runs' training logs that are worth a panel, in their order."""
    columns: dict[str, None] = {}
    for run in runs:
        if run.curves is not None:
            numeric = run.curves.select_dtypes("number")
            columns.update(
                dict.fromkeys(
                    str(name) for name in numeric if name not in _HIDDEN and numeric[name].notna().any()
                )
            )
    return list(columns)


def curves(runs: Sequence[StageResult], headline: str, name: str) -> str | None:
    """Plot a stage's training log, one panel per column and one line per seed; None without any log.

    The last panel holds the headline metric of the snapshots, for the eye only: it is read from labels.
    """
    columns = curve_columns(runs)[:MAX_PANELS]
    scored = [run for run in runs if run.snapshots is not None and len(run.snapshots)]
    panels = len(columns) + bool(scored)
    if not panels:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _grid(panels)
        for axis, column in zip(axes, columns, strict=False):
            _lines(axis, runs, column)
        if scored:
            axis = axes[len(columns)]
            for run in scored:
                assert run.snapshots is not None
                color = _seed_color(runs, run.seed)
                axis.plot(run.snapshots["step"], run.snapshots[headline], ".-", color=color)
            axis.set_title(f"{headline} % by snapshot, from labels")
        seeds = list(dict.fromkeys(run.seed for run in runs))
        if len(seeds) > 1:
            for seed in seeds:
                axes[0].plot([], [], color=_seed_color(runs, seed), label=f"seed {seed}")
            axes[0].legend(fontsize=8)
        return _svg(figure, name)


def _grid(panels: int) -> tuple[Figure, list]:
    columns = min(4, panels)
    rows = ceil(panels / columns)
    figure = Figure(figsize=(2.8 * columns, 2.0 * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(panels)]
    for axis in axes[-columns:]:
        axis.set_xlabel("step")
    return figure, axes


def _seed_color(runs: Sequence[StageResult], seed: int) -> str:
    seeds = list(dict.fromkeys(run.seed for run in runs))
    return COLORS[seeds.index(seed) % len(COLORS)]


def _lines(axis: Axes, runs: Sequence[StageResult], column: str) -> None:
    for run in runs:
        if run.curves is None or column not in run.curves:
            continue
        known = run.curves[["step", column]].dropna()
        thinned = known.iloc[:: max(1, ceil(len(known) / MAX_POINTS))]
        axis.plot(thinned["step"], thinned[column], color=_seed_color(runs, run.seed))
    axis.set_title(column)


def ranking_histogram(rankings: Sequence[RankingRecord], name: str) -> str:
    """Plot the scores of all target images per seed: easy and hard in two colors, the cut between them."""
    with mpl.rc_context(_STYLE):
        figure, axes = _grid(len(rankings))
        for axis, ranking in zip(axes, rankings, strict=True):
            _ranking(axis, ranking)
        return _svg(figure, name)


def _ranking(axis: Axes, ranking: RankingRecord) -> None:
    ordered = sorted(ranking.scores.tolist())
    easy, hard = ordered[: ranking.easy], ordered[ranking.easy :]
    low, high = (ordered[0], ordered[-1]) if ordered else (0.0, 1.0)
    bins = [low + (max(high - low, 1e-9)) * edge / 30 for edge in range(31)]
    axis.hist([easy, hard], bins, stacked=True, color=COLORS[:2], label=["easy", "hard"])
    if ranking.cut is not None:
        axis.axvline(ranking.cut, color=_TEXT, linewidth=0.8, linestyle="--")
    axis.set_title(f"seed {ranking.seed}: {ranking.easy} easy, {ranking.hard} hard")
    axis.set_xlabel("ranking score")
    axis.set_ylabel("images")
    axis.legend(fontsize=8)


def threshold_plot(thresholds: pd.DataFrame, class_names: Sequence[str], name: str) -> str:
    """Plot each class's confidence threshold and selected share, one color per round (mean over seeds)."""
    means = thresholds.groupby(["round", "class"], sort=False)[["threshold", "selected"]].mean()
    rounds = sorted(thresholds["round"].unique())
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(5.0, 0.45 * len(class_names) + 2), 3.6), layout="constrained")
        for row, column in enumerate(("threshold", "selected")):
            axis = figure.add_subplot(2, 1, row + 1)
            for number, turn in enumerate(rounds):
                values = means.loc[turn][column].reindex(list(class_names))
                offset = 0.5 * (number - (len(rounds) - 1) / 2) / max(1, len(rounds))
                positions = [index + offset for index in range(len(class_names))]
                color = COLORS[number % len(COLORS)]
                axis.plot(positions, values, "o", markersize=4, color=color, label=f"round {turn}")
            axis.set_ylim(-0.03, 1.03)
            axis.set_ylabel("threshold" if column == "threshold" else "share kept")
            axis.set_xticks(range(len(class_names)))
            axis.set_xticklabels(class_names if row else [], rotation=40, ha="right")
            axis.grid(axis="y", linewidth=0.3, alpha=0.6)
        figure.axes[0].legend(fontsize=8, ncols=len(rounds), loc="lower left")
        return _svg(figure, name)


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an inline SVG element; `name` is unique on the page and keeps its ids apart."""
    stream = StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = text.replace(_TEXT, "currentColor")
    width = round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)
    opening = rf'<svg class="plot" role="img" width="{width}" \1>'
    return re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', opening, text, count=1)
