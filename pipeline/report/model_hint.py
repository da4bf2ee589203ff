"""What to do where the folder `model/` holds another stage than the one that is best, or seems so."""

from dataclasses import dataclass

from pipeline.report.comparison import Row
from pipeline.report.model import ReportData
from pipeline.stages.results import Results


@dataclass(frozen=True)
class ModelHint:
    """What `model/` holds, what to do, and the line to add to the suite; "" where no recipe ends with the stage."""

    said: str
    line: str


def model_folder(row: Row) -> str:
    """The folder `model/` of a row's first seed."""
    return f"{_folder(row)}/model"


def model_hint(data: ReportData, best: Row) -> ModelHint | None:
    """Return how to get the model of the best row; None where `model/` of its first seed holds it."""
    one, stage = best.experiment, best.stage.stage
    held = one.held_stage(best.runs[0].seed)
    if held == stage:
        return None
    if line := one.endings.get(stage):
        suite = f"config/{data.suite}.yaml" if data.suite else "the suite"
        return ModelHint(
            f"{model_folder(best)} holds {held}; for {stage}, already trained, add to {suite} and start again",
            line,
        )
    weights = f"{_folder(best)}/{one.links.get(stage, stage)}/snapshots"
    return ModelHint(
        f"{model_folder(best)} holds {held}; found no recipe that ends with {stage}; its weights: {weights}",
        "",
    )


def _folder(row: Row) -> str:
    return str(Results().run_folder(row.experiment.name, row.runs[0].seed))
