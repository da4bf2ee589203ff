"""What a reader should know first of a task: the best row, how sure its gain is, and what to do next."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.artifacts.program import program
from pipeline.report import tables
from pipeline.report.comparison import Row, best_adapted, best_row, difference
from pipeline.report.label_free import label_free_choice
from pipeline.report.model import ReportData
from pipeline.report.model_hint import model_folder, model_hint
from pipeline.report.unlabelled import headline, reason

_WEAK = 20.0
"""IoU in percent below which a class is hardly learned."""


def summary_view(data: ReportData, task: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The card of a task."""
    best = best_row(rows)
    guess = None if any(row.mean is not None for row in rows) else label_free_choice(rows)
    shown = guess.row if guess else best
    return {
        "task": task,
        "figure": "" if best is None else f"{rows[0].experiment.headline} {_figure(best)} %",
        "headline": "" if guess is None else headline(rows),
        "guess": "" if guess is None else reason(guess),
        "best": None if shown is None else shown.name,
        "none": "every row used labels of the target"
        if any(row.mean is not None for row in rows)
        else "no figures",
        "recipe": None if shown is None else shown.experiment.recipe,
        "gain": "" if best is None else tables.cell(best.line, "gain", "", sign=True),
        "gain_sign": "up" if best is not None and (best.gain or 0) > 0 else "down",
        "pairs": "" if best is None else _pairs(best.line["gain_pairs"]),
        "baseline": None if best is None else best.line["baseline"],
        "beside": [] if best is None else list(_beside(best, rows)),
        "next": list(_next(data, rows, shown)),
    }


def _figure(row: Row) -> str:
    return tables.cell(row.line, "last", "")


def _pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'} of seeds"


def _beside(best: Row, rows: Sequence[Row]) -> Iterator[str]:
    """What must be said beside the best row where it is no adapted final stage."""
    adapted = best_adapted(rows)
    if not best.is_adapted:
        yield "It is a source stage" + ("." if adapted is None else ": no adaptation beats it.")
        if adapted is not None:
            yield f"The best adapted stage is {adapted.name}, {_figure(adapted)}{_against(adapted, best)}."
    elif not best.is_final:
        final = next(row for row in rows if row.is_final and row.experiment is best.experiment)
        yield f"It is not the last of its chain: {final.stage.stage} has {_figure(final)}{_against(final, best)}."


def _against(row: Row, best: Row) -> str:
    found = difference(row, best)
    if found is None:
        return ""
    sign = "+" if found.mean >= 0 else ""
    unclear = ", not clear of their spread" if _is_unclear(found.mean, found.sd, found.count) else ""
    return f": {sign}{found} against the best, {_pairs(found.count)}{unclear}"


def _is_unclear(mean: float, sd: float | None, pairs: int) -> bool:
    """Whether a mean difference lies within two standard errors of 0; False for a single pair, which has none."""
    return sd is not None and abs(mean) < 2 * sd / pairs**0.5


def _next(data: ReportData, rows: Sequence[Row], best: Row | None) -> Iterator[tuple[str, str]]:
    """What to do, in words, and the command if there is one."""
    if data.unfinished:
        yield "some runs have not finished; the same command goes on with them", ""
    if best is None:
        if any(row.runs and row.mean is None for row in rows):
            command = f"{program()} suggest --experiment {rows[-1].experiment.name}{_file(data)}"
            yield "no labels to score on: look at the pictures, then label the images that say most", command
        return
    if best.mean is None:
        yield "it is a guess: compare the pictures before you trust it, and label a few images to know", ""
    else:
        yield from _about_seeds(best)
        yield from () if data.unfinished else _about_stages(best, rows)
        yield from _about_classes(best)
    if best.experiment.kind == "segmentation":
        what = "a few labels help most where the model is unsure"
        yield what, f"{program()} suggest --experiment {best.experiment.name}{_file(data)}"
    yield from _about_model(data, best)


def _about_seeds(best: Row) -> Iterator[tuple[str, str]]:
    sd, pairs, planned = best.line["gain_sd"], best.line["gain_pairs"], len(best.experiment.seeds)
    if planned < 3:
        yield (
            f"{'one seed tells' if planned == 1 else 'two seeds tell'} little: in the suite",
            "seeds: [0, 1, 2]",
        )
    elif pairs > 1 and best.gain is not None and _is_unclear(best.gain, sd, pairs):
        yield "the gain is not clear of the spread over seeds: more seeds, or longer trainings", ""


def _about_stages(best: Row, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """What to try where adaptation, or its last stage, made it worse, or there was none."""
    if best.is_adapted and best.is_final:
        return
    if best.is_adapted:
        yield (
            f"{best.experiment.name}: leave out what comes after {best.stage.stage}, or give it fewer steps",
            "",
        )
    elif best_adapted(rows) is None:
        yield "nothing is adapted yet: add an experiment to the suite", "adapted: {recipe: strong}"
    elif all(row.experiment.recipe != "strong" for row in rows):
        yield (
            "another kind of adaptation may help: add an experiment to the suite",
            "strong: {recipe: strong}",
        )
    else:
        yield (
            "see where adaptation loses (classes, pictures); fewer steps of it, or more varied source images",
            "",
        )


def _about_classes(best: Row) -> Iterator[tuple[str, str]]:
    weak = [
        f"{name} {value:.1f}"
        for name, value in zip(best.experiment.class_names, best.class_means(), strict=True)
        if value is not None and value < _WEAK
    ]
    if weak:
        what = f"weakest classes (IoU in percent): {', '.join(weak)}; see how often they occur in the source"
        yield what, ""


def _about_model(data: ReportData, best: Row) -> Iterator[tuple[str, str]]:
    """The command that applies the best row, where a folder `model/` holds it; else how to get such a folder."""
    hint = model_hint(data, best)
    if hint is None:
        yield (
            "the model to take away",
            f"{program()} predict --model {model_folder(best)} --images FOLDER --out FOLDER",
        )
    else:
        yield hint.said, hint.line


def _file(data: ReportData) -> str:
    return f" --configfile config/{data.suite}.yaml" if data.suite else ""
