"""Training curves and rankings as plain numbers, which the page's scripts draw."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import pandas as pd

from pipeline.report import images
from pipeline.report.model import ExperimentRecord, RankingRecord, StageResult

_HIDDEN = frozenset({"step", "seconds", "eta", "data_wait", "time"})
MAX_POINTS = 200
MAX_PANELS = 12


def stage_curves(item: ExperimentRecord) -> list[dict[str, Any]]:
    """For each stage with a log: its title, its seeds, and a curve per logged value, one line per seed.

    The last curve holds the headline metric of the snapshots, for the eye only: it is read from labels.
    """
    found = []
    for name in item.stages:
        first = {run.seed: run for run in reversed(item.runs) if run.stage == name.stage}
        runs = [first[seed] for seed in item.seeds if seed in first]
        curves = [_curve(column, [(run.seed, run.curves) for run in runs]) for column in curve_columns(runs)]
        scored = [
            (run.seed, run.snapshots) for run in runs if run.snapshots is not None and len(run.snapshots)
        ]
        if scored:
            by_snapshot = _curve(item.headline, scored)
            curves.append({**by_snapshot, "name": f"{item.headline} % by snapshot, from labels"})
        if curves:
            title = f"{name.stage} ({name.method})"
            found.append({"title": title, "seeds": [run.seed for run in runs], "curves": curves})
    return found


def curve_columns(runs: Sequence[StageResult]) -> list[str]:
    """Return the numeric columns of the runs' training logs that are worth a panel, in their order."""
    columns: dict[str, None] = {}
    for run in runs:
        if run.curves is not None:
            numeric = run.curves.select_dtypes("number")
            known = (str(name) for name in numeric if name not in _HIDDEN and numeric[name].notna().any())
            columns.update(dict.fromkeys(known))
    return list(columns)[:MAX_PANELS]


def _curve(column: str, tables: Iterable[tuple[int, pd.DataFrame | None]]) -> dict[str, Any]:
    lines = []
    for seed, table in tables:
        if table is None or column not in table:
            continue
        known = table[["step", column]].dropna()
        thinned = known.iloc[:: max(1, ceil(len(known) / MAX_POINTS))]
        values = [float(f"{value:.5g}") for value in thinned[column]]
        lines.append({"seed": seed, "steps": [int(step) for step in thinned["step"]], "values": values})
    return {"name": column, "lines": lines}


def ranking_data(ranking: RankingRecord) -> dict[str, Any]:
    """The scores in ascending order, the cut that was made, and a few images by their place."""
    return {
        "seed": ranking.seed,
        "scores": [float(f"{score:.5g}") for score in sorted(ranking.scores.tolist())],
        "easy": ranking.easy,
        "share": ranking.easy_share,
        "thumbnails": [
            {"name": one.name, "place": one.place, "photo": images.photo(one.image, images.TINY)}
            for one in ranking.thumbnails
        ],
    }
