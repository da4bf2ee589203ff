"""What a reader should know first of a task: the best recipe, how sure its gain is, and what to do next."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.report import tables
from pipeline.report.comparison import Row, best_row
from pipeline.report.model import ReportData

_WEAK = 20.0
"""IoU in percent below which a class is hardly learned."""


def summary_view(data: ReportData, task: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The card of a task."""
    best = best_row(rows)
    return {
        "task": task,
        "metric": rows[0].experiment.headline,
        "best": None if best is None else best.experiment.name,
        "recipe": None if best is None else best.experiment.recipe,
        "figure": None if best is None else tables.cell(best.line, "last", ""),
        "gain": "" if best is None else tables.cell(best.line, "gain", "", sign=True),
        "gain_sign": "up" if best is not None and (best.gain or 0) > 0 else "down",
        "pairs": 0 if best is None else best.line["gain_pairs"],
        "baseline": None if best is None else best.line["baseline"],
        "next": list(_next(data, rows, best)),
    }


def _next(data: ReportData, rows: Sequence[Row], best: Row | None) -> Iterator[tuple[str, str]]:
    """What to do, in words, and the command if there is one."""
    if data.unfinished:
        yield "some runs have not finished; the same command goes on with them", ""
    if best is None:
        if any(row.runs for row in rows):
            yield "no labels to score on: look at the pictures, then label the images that tell most", ""
            name = rows[-1].experiment.name
            yield "", f"python -m pipeline suggest --experiment {name}{_file(data)}"
        return
    sd, pairs = best.line["gain_sd"], best.line["gain_pairs"]
    if len(best.experiment.seeds) < 3:
        count = {1: "one seed tells", 2: "two seeds tell"}[len(best.experiment.seeds)]
        yield f"{count} little: in the suite", "seeds: [0, 1, 2]"
    elif pairs > 1 and best.gain is not None and abs(best.gain) < 2 * sd / pairs**0.5:
        yield "the gain is not clear of the spread over seeds: more seeds, or longer trainings", ""
    weak = [
        f"{name} {value:.1f}"
        for name, value in zip(best.experiment.class_names, best.class_means(), strict=True)
        if value is not None and value < _WEAK
    ]
    if weak:
        yield (
            f"weakest classes (IoU in percent): {', '.join(weak)}; see how often they occur in the source",
            "",
        )
    if best.experiment.kind == "segmentation":
        yield (
            "a few labels help most where the model is unsure",
            (f"python -m pipeline suggest --experiment {best.experiment.name}{_file(data)}"),
        )
    model = f"results/experiments/{best.experiment.name}/seed{best.experiment.seeds[0]}/model"
    yield "the model to take away", f"python -m pipeline predict --model {model} --images FOLDER --out FOLDER"


def _file(data: ReportData) -> str:
    return f" --configfile config/{data.suite}.yaml" if data.suite else ""
