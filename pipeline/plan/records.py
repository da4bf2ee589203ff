"""What the plan writes of an experiment's run and of the reports, for the view for people; free of torch."""

from typing import Literal

from pipeline.plan.run import PlannedRun
from pipeline.stages.record import ArtifactRef, Record
from pipeline.stages.results import Located

REPORTS = "reports"


class NamedStage(ArtifactRef):
    """A stage by its name in the recipe; `method`: of a training."""

    name: str
    kind: str
    method: str | None


class RunNames(Record):
    """Names of a run's task, recipe and network."""

    task: str
    recipe: str
    network: str


class RunRecord(Record):
    """`results/stages/experiment-<name>-seed<k>.json`: one experiment with one seed.

    `stages` in the recipe's order; `final`: the one whose model is taken away. `selects`, `evaluates`: the
    figures of training stages by their names.
    """

    kind: Literal["experiment"] = "experiment"
    experiment: str
    seed: int
    title: str
    metric: Literal["miou", "dice", "accuracy"]
    final: str
    names: RunNames
    stages: tuple[NamedStage, ...]
    selects: dict[str, ArtifactRef]
    evaluates: dict[str, ArtifactRef]

    @property
    def key(self) -> str:
        """Name of its file below `results/stages/`."""
        return run_key(self.experiment, self.seed)

    def of_kind(self, kind: str) -> list[NamedStage]:
        """The stages of one kind, in order."""
        return [stage for stage in self.stages if stage.kind == kind]

    def artifacts(self) -> list[ArtifactRef]:
        """Everything that the run's folder links to or shows."""
        return [*self.stages, *self.selects.values(), *self.evaluates.values()]


class RunName(Record):
    """Which run: an experiment and a seed."""

    experiment: str
    seed: int

    @property
    def key(self) -> str:
        """Name of the run's file below `results/stages/`."""
        return run_key(self.experiment, self.seed)


class ReportRecord(Record):
    """`results/stages/report-<suite>.json`: the runs on the page of a suite."""

    kind: Literal["report"] = "report"
    suite: str
    runs: tuple[RunName, ...]

    @property
    def key(self) -> str:
        """Name of its file below `results/stages/`."""
        return report_key(self.suite)


class ReportsRecord(Record):
    """`results/stages/reports.json`: the selected runs of every suite that has one."""

    kind: Literal["reports"] = "reports"
    key: str = REPORTS
    suites: dict[str, tuple[RunName, ...]]


def run_key(experiment: str, seed: int) -> str:
    """Name of a run's file below `results/stages/`."""
    return f"experiment-{experiment}-seed{seed}"


def report_key(suite: str) -> str:
    """Name of a suite's file below `results/stages/`."""
    return f"report-{suite}"


def run_record(run: PlannedRun) -> RunRecord:
    """What is written of a planned run."""
    return RunRecord(
        experiment=run.experiment,
        seed=run.seed,
        title=run.title,
        metric=run.metric,
        final=run.final,
        names=RunNames(**run.names),
        stages=tuple(
            NamedStage(rule=stage.rule, key=stage.key, name=name, kind=stage.kind, method=run.method_of(name))
            for name, stage in run.stages.items()
        ),
        selects={name: _located(stage) for name, stage in run.selects.items()},
        evaluates={name: _located(stage) for name, stage in run.evaluates.items()},
    )


def _located(stage: Located) -> ArtifactRef:
    return ArtifactRef(rule=stage.rule, key=stage.key)
