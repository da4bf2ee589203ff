"""The row that seems best where there are no labels: the guard's criterion over all rows of a task, a guess."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report import tables
from pipeline.report.coefficients import coefficient
from pipeline.report.comparison import Row, best_row
from pipeline.report.model import StageName


@dataclass(frozen=True)
class LabelFreeChoice:
    """A row, its uncertainty coefficient, and that of its own source stage; None where that is the row itself."""

    row: Row
    value: tables.Spread
    source: tables.Spread | None


def label_free_choice(rows: Sequence[Row]) -> LabelFreeChoice | None:
    """Choose by the highest uncertainty coefficient of the last step, mean over seeds.

    At a tie the last stage of a chain, whose model can be taken away, then the earlier row. None where no row was
    looked at on unlabelled images.
    """
    known = [(row, value) for row in rows if (value := coefficient_of(row)) is not None]
    if not known:
        return None
    row, value = max(known, key=lambda one: (one[1].mean, one[0].is_final))
    source = row_of(rows, row, row.experiment.stages[0])
    return LabelFreeChoice(row, value, coefficient_of(source) if row.is_adapted else None)


def coefficient_of(row: Row) -> tables.Spread | None:
    """The uncertainty coefficient of a row over its seeds."""
    return tables.spread(coefficient(row.experiment, row.stage.stage, run.seed, row.mode) for run in row.runs)


def row_of(rows: Sequence[Row], like: Row, stage: StageName) -> Row:
    """The row of another stage of the same experiment in the same test mode."""
    chain = (row for row in rows if row.experiment is like.experiment and row.mode == like.mode)
    return next(row for row in chain if row.stage == stage)


def recommended(rows: Sequence[Row]) -> Row | None:
    """The best row by its figures or, where no row has any, by the label-free criterion; None without a choice."""
    if any(row.mean is not None for row in rows):
        return best_row(rows)
    guess = label_free_choice(rows)
    return None if guess is None else guess.row
