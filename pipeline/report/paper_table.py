"""The table of a suite for a paper: mean and sd over seeds, paired gains with a test, swept parameters as columns.

Read from `runs.csv` and `results.csv` of the suite's report, so that it says what the page says. A gain is the mean
over seeds of (experiment minus baseline); its p comes from the two-sided paired t-test over the same seeds. A suite
without any score gets the table of figures that need no labels.
"""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.program import program
from pipeline.report.label_free_table import LabelFreeTable, label_free_table
from pipeline.report.table_formats import Line, Number
from pipeline.report.tables import NO_LABELS, Spread, spread
from pipeline.schema.names import nearest

PLAIN = (
    *("experiment", "task", "recipe", "network", "stage", "method", "seed", "test_mode"),
    *("selection", "step", "metric", "value", "status", "key"),
)
"""The columns of `runs.csv` that are no swept parameters."""


@dataclass(frozen=True)
class Row:
    """An experiment's last stage: its figure, its gain with pairs and p, and whether it is its task's best."""

    experiment: str
    task: str
    labels: dict[str, str]
    metric: str
    figure: Spread
    gain: Spread | None
    p: float | None
    best: bool = False


@dataclass(frozen=True)
class PaperTable:
    """Rows by task, and the caption: what the figures are."""

    rows: tuple[Row, ...]
    caption: str

    @property
    def labels(self) -> list[str]:
        """Names of the first columns: what the experiments differ in."""
        return list(self.rows[0].labels)

    @property
    def figures(self) -> list[str]:
        """Names of the figures' columns."""
        return [" / ".join(dict.fromkeys(row.metric for row in self.rows)), "gain", "p"]

    def lines(self) -> list[Line]:
        """The rows as text; empty where there is no gain or no p."""
        return [
            Line(
                row.task,
                tuple(row.labels.values()),
                (str(row.figure), _signed(row.gain), _p(row.p)),
                row.best,
            )
            for row in self.rows
        ]

    def numbers(self) -> list[dict[str, Number]]:
        """The rows with each number in a column of its own."""
        return [
            {
                "experiment": row.experiment,
                "task": row.task,
                **{name: value for name, value in row.labels.items() if name != "experiment"},
                "metric": row.metric,
                "n": row.figure.count,
                "mean": row.figure.mean,
                "sd": row.figure.sd,
                "gain": row.gain.mean if row.gain else None,
                "gain_sd": row.gain.sd if row.gain else None,
                "pairs": row.gain.count if row.gain else 0,
                "p": row.p,
                "best": int(row.best),
            }
            for row in self.rows
        ]


def _signed(gain: Spread | None) -> str:
    if gain is None:
        return ""
    return str(gain) if gain.mean < 0 else f"+{gain}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def paper_table(folder: Path, baseline: str | None) -> PaperTable | LabelFreeTable:
    """Make the table of the report in `folder`; where no task in it has labels, of the figures that need none.

    `baseline`: pattern of the experiments that gains are measured from, one for each task and network; None: the
    first stage of each experiment's own chain. ArtifactError: no report there, or nothing in it has finished.
    ConfigError: the pattern does not name one experiment for a task, or there are no gains.
    """
    runs, results = _read(folder)
    headline = dict(zip(results["experiment"], results["metric"], strict=True))
    done = runs[(runs["status"] == "done") & (runs["selection"] == "last")]
    done = done[done["metric"] == done["experiment"].map(headline)]
    if done.empty:
        return label_free_table(folder, results, baseline)
    lasts = done.groupby("experiment", sort=False)["stage"].last()
    swept = [name for name in runs.columns if name not in PLAIN and runs[name].notna().any()]
    rows = []
    for (name, mode), own in done.groupby(["experiment", "test_mode"], sort=False):
        final = _by_seed(own, lasts[str(name)])
        base = _baseline(done[done["test_mode"] == mode], own, lasts, baseline)
        gain, p = _paired(final, base)
        first = own.iloc[0]
        labels = {
            key: "" if pd.isna(first[key]) else str(first[key]) for key in ("recipe", "network", *swept)
        }
        figure = spread(final)
        assert figure is not None
        labels = {"test mode": str(mode), **labels}
        rows.append(Row(str(name), first["task"], labels, first["metric"], figure, gain, p))
    return PaperTable(tuple(_with_best(_labelled(rows))), _caption(rows, baseline) + _left_out(runs))


def _left_out(runs: pd.DataFrame) -> str:
    """Name the tasks that have no row because they have no labels."""
    tasks = dict.fromkeys(runs.loc[runs["status"] == NO_LABELS, "task"])
    return f" Without labels, so without a row: {', '.join(tasks)}." if tasks else ""


def _read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs and the results over seeds."""
    try:
        # As text: a swept value must stay as it was written.
        runs = pd.read_csv(folder / "runs.csv", dtype=str)
        runs = runs.astype({"value": float, "seed": int})
        columns = dict.fromkeys(("experiment", "task", "network", "stage", "test_mode", "metric"), str)
        return runs, pd.read_csv(folder / "results.csv", dtype=columns)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{error.filename} is missing: the suite has no report yet; run it with `{program()} start`"
        ) from error
    except (ValueError, KeyError) as error:
        raise ArtifactError(
            f"{folder}: runs.csv or results.csv is damaged ({error}); `{program()} start` makes them anew"
        ) from error


def _by_seed(rows: pd.DataFrame, stage: str) -> pd.Series:
    return rows[rows["stage"] == stage].set_index("seed")["value"]


def _baseline(
    done: pd.DataFrame, own: pd.DataFrame, lasts: pd.Series, pattern: str | None
) -> pd.Series | None:
    """Values by seed of what `own` is compared with; None where it is the baseline itself, or has none."""
    name, first = own["experiment"].iloc[0], own["stage"].iloc[0]
    if pattern is None:
        return None if first == lasts[name] else _by_seed(own, first)
    alike = done[(done["task"] == own["task"].iloc[0]) & (done["network"] == own["network"].iloc[0])]
    names = list(alike["experiment"].unique())
    found = [one for one in names if fnmatch.fnmatchcase(one, pattern)]
    if len(found) != 1:
        raise ConfigError(
            f"--baseline {pattern}: fits {len(found)} experiments of task {own['task'].iloc[0]} and network "
            f"{own['network'].iloc[0]}, needs one; {nearest(pattern, names)}"
        )
    if found[0] == name:
        return None
    return _by_seed(alike[alike["experiment"] == found[0]], lasts[found[0]])


def _paired(ours: pd.Series, base: pd.Series | None) -> tuple[Spread | None, float | None]:
    """The paired gain, and the p of the two-sided paired t-test; None for fewer than two pairs or equal gains."""
    if base is None:
        return None, None
    differences = (ours - base).dropna()
    gain = spread(differences)
    if gain is None or gain.count < 2 or np.ptp(differences.to_numpy()) == 0:
        return gain, None
    return gain, float(stats.ttest_1samp(differences, 0.0).pvalue)


def _labelled(rows: Sequence[Row]) -> list[Row]:
    """Keep the labels that tell the rows of a task apart; with the experiment's name where they do not."""
    kept = [key for key in rows[0].labels if len({row.labels[key] for row in rows}) > 1]
    told = {(row.task, *(row.labels[key] for key in kept)) for row in rows}
    named = not kept or len(told) < len(rows)
    return [
        replace(
            row,
            labels=({"experiment": row.experiment} if named else {}) | {key: row.labels[key] for key in kept},
        )
        for row in rows
    ]


def _with_best(rows: Sequence[Row]) -> list[Row]:
    """Mark the largest mean of each task; rows of a task stand together."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    best = {task: max(row.figure.mean for row in rows if row.task == task) for task in tasks}
    marked = [replace(row, best=row.figure.mean == best[row.task]) for row in rows]
    return sorted(marked, key=lambda row: tasks.index(row.task))


def _caption(rows: Sequence[Row], baseline: str | None) -> str:
    counts = sorted({row.figure.count for row in rows})
    pairs = sorted({row.gain.count for row in rows if row.gain is not None})
    said = (
        f"Percent at the last step, mean ± standard deviation over n = {_numbers(counts)} seeds; "
        "the best of each task in bold."
    )
    if pairs:
        over = f"the experiment {baseline}" if baseline else "the first stage of the same chain"
        said += (
            f" Gain over {over}, paired by seed; p: two-sided paired t-test over n = {_numbers(pairs)} seeds, not "
            "corrected for the number of comparisons."
        )
    return said


def _numbers(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
