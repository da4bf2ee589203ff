"""The row that seems best where there are no labels: the guard's criterion over all rows of a task, a guess."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report import tables
from pipeline.report.comparison import Row
from pipeline.report.guard import LEAST_DIVERSITY, Answers, uncertainty_coefficient
from pipeline.report.model import StageResult


@dataclass(frozen=True)
class LabelFreeChoice:
    """A row, its uncertainty coefficient, and that of its own source stage; None where that is the row itself."""

    row: Row
    value: tables.Spread
    source: tables.Spread | None


def label_free_choice(rows: Sequence[Row]) -> LabelFreeChoice | None:
    """Choose by the highest uncertainty coefficient of the last step, mean over seeds; at a tie the earlier row.

    As in the guard, an adapted stage's diversity counts as no less than 4/5 of that of its source stage. None where
    no row was looked at on unlabelled images.
    """
    known = [(row, value) for row in rows if (value := _coefficient(row)) is not None]
    if not known:
        return None
    row, value = max(known, key=lambda one: one[1].mean)
    first = row.experiment.stages[0]
    source = [other for one, other in known if one.experiment is row.experiment and one.stage == first]
    return LabelFreeChoice(row, value, source[0] if row.is_adapted and source else None)


def _coefficient(row: Row) -> tables.Spread | None:
    return tables.spread(_of_seed(row, run) for run in row.runs)


def _of_seed(row: Row, run: StageResult) -> float | None:
    answers = _answers(run)
    if answers is None or not row.is_adapted:
        return None if answers is None else uncertainty_coefficient(answers)
    first = row.experiment.result_of(row.experiment.stages[0].stage, run.seed, row.mode)
    source = None if first is None else _answers(first)
    floor = 0.0 if source is None else LEAST_DIVERSITY * source.diversity
    return uncertainty_coefficient(answers, floor)


def _answers(run: StageResult) -> Answers | None:
    """What `select` found of the last step; None where it did not look."""
    figures = run.label_free_figures
    if not {"entropy", "information_maximisation"} <= figures.keys():
        return None
    return Answers(figures["entropy"], figures["information_maximisation"])
