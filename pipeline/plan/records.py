"""What the plan writes of an experiment's run and of the reports, for the view for people; free of torch."""

from typing import Any, Literal

from pipeline.datasets.taxonomy import Taxonomy
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import Stage
from pipeline.stages.parameters import TestMode
from pipeline.stages.record import ArtifactRef, Record

REPORTS = "reports"


class RunName(Record):
    """Which run: an experiment and a seed."""

    experiment: str
    seed: int

    @property
    def key(self) -> str:
        """Name of the run's file below `results/stages/`."""
        return f"experiment-{self.experiment}-seed{self.seed}"


class NamedStage(ArtifactRef):
    """A stage by its name in the recipe; `method`: of a training."""

    name: str
    kind: str
    method: str | None


class Scoring(Record):
    """How the figures of a task are made, which the model folder takes along; `size`: width and height, None: own."""

    size: tuple[int, int] | None
    resample: Literal["bicubic", "bilinear"]
    test_mode: TestMode
    batch: int

    @property
    def input(self) -> str:
        """What a table's head says of it; logits always go to the labels' own size."""
        return (
            "input at each image's own size" if self.size is None else f"input {self.size[0]}x{self.size[1]}"
        )


class RunRecord(RunName):
    """`results/stages/experiment-<name>-seed<k>.json`: one experiment with one seed.

    `names`: of its task, recipe and network. `taxonomy`: as the configuration has it now, for pages. `stages` in the
    recipe's order; `final`: the one whose model is taken away. `selects`, `evaluates`: the figures of training stages
    by their names; `also`: those on further splits, by the split's title. `scoring`: how evaluations are made.
    `target_labels`: whether a training opened labels of the target's images. `source_only`: the stage that the guard
    compares `final` with; None without a guard. `endings`: by stage, the suite's line for an experiment that ends
    with it.
    """

    kind: Literal["experiment"] = "experiment"
    title: str
    metric: Literal["miou", "dice", "accuracy"]
    final: str
    names: dict[str, str]
    taxonomy: Taxonomy
    scoring: Scoring
    swept: dict[str, Any] = {}
    stages: tuple[NamedStage, ...]
    selects: dict[str, ArtifactRef]
    evaluates: dict[str, ArtifactRef]
    also: dict[str, dict[str, ArtifactRef]] = {}
    target_labels: bool = False
    source_only: str | None = None
    endings: dict[str, str] = {}

    def of_kind(self, kind: str) -> list[NamedStage]:
        """The stages of one kind, in order."""
        return [stage for stage in self.stages if stage.kind == kind]

    def artifacts(self) -> list[ArtifactRef]:
        """Everything that the run's folder links to or shows."""
        further = [ref for refs in self.also.values() for ref in refs.values()]
        return [*self.stages, *self.selects.values(), *self.evaluates.values(), *further]


class ReportRecord(Record):
    """`results/stages/report-<suite>.json`: the runs on the page of a suite."""

    kind: Literal["report"] = "report"
    suite: str
    runs: tuple[RunName, ...]

    @property
    def key(self) -> str:
        """Name of its file below `results/stages/`."""
        return f"report-{self.suite}"


class ReportsRecord(Record):
    """`results/stages/reports.json`: the page that links to those of all suites."""

    kind: Literal["reports"] = "reports"
    key: str = REPORTS


def run_record(run: PlannedRun) -> RunRecord:
    """What is written of a planned run."""

    def named(name: str, stage: Stage) -> NamedStage:
        method = run.method_of(name)
        return NamedStage(rule=stage.rule, key=stage.key, name=name, kind=stage.kind, method=method)

    def refs(stages: dict[str, Stage]) -> dict[str, ArtifactRef]:
        return {name: ArtifactRef(rule=stage.rule, key=stage.key) for name, stage in stages.items()}

    return RunRecord(
        experiment=run.experiment,
        seed=run.seed,
        title=run.title,
        metric=run.metric,
        final=run.final,
        names=dict(run.names),
        taxonomy=run.taxonomy,
        scoring=Scoring.model_validate(run.scoring),
        swept=dict(run.swept),
        stages=tuple(named(name, stage) for name, stage in run.stages.items()),
        selects=refs(run.selects),
        evaluates=refs(run.evaluates),
        also={title: refs(stages) for title, stages in run.also.items()},
        target_labels=run.target_labels,
        source_only=run.source_only,
        endings=dict(run.endings),
    )
