"""What the trainings of a plan take on this machine: a few steps of each kind are made, the rest is multiplied."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.commands.cost import GIB, aligned, prepared_size
from pipeline.numerics import WidthHeight
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import Stage
from pipeline.report.costs import duration
from pipeline.stages.results import Results

if TYPE_CHECKING:
    from pipeline.stages.measuring import Measured

SECONDS = 20.0
"""For each kind of training; more where two steps take longer."""
NO_MATTER = {"steps", "snapshots", "optimiser"}
"""Parameters that hardly change what a step takes."""
HEADER = ("training", "steps", "s a step", "GiB", "time", "images")


@dataclass(frozen=True)
class Pace:
    """What was measured of one kind of training, or why nothing was."""

    measured: "Measured | None"
    reason: str = ""

    def seconds(self, stage: Stage) -> float | None:
        """What the training takes as a whole."""
        return None if self.measured is None else self.measured.seconds * float(stage.parameters.steps)


def named_trainings(runs: Iterable[PlannedRun]) -> dict[str, Stage]:
    """Every training once, by the first name that it has."""
    found: dict[str, tuple[str, Stage]] = {}
    for run in runs:
        for name, stage in run.trained.items():
            found.setdefault(stage.key, (f"{run.experiment}:{name}", stage))
    return dict(found.values())


def kind_of(stage: Stage) -> str:
    """What two trainings must share to take as long for a step."""
    network = stage.record.network
    assert network is not None
    parameters = stage.parameters.model_dump_json(exclude=NO_MATTER)
    return network.model_dump_json() + parameters + str(_sizes(stage))


def _sizes(stage: Stage) -> dict[str, WidthHeight | None]:
    return {str(role): prepared_size(role, stage) for role in stage.parameters.domains_read()}


def pace_of(stage: Stage, enough: float = SECONDS, most: float | None = None) -> Pace:
    """Measure one training; for `enough` seconds, and `most` at most."""
    from pipeline.stages.measuring import Limits, NotMeasuredError, measure_training  # it alone needs torch

    try:
        return Pace(measure_training(stage.record, Results(), _sizes(stage), Limits(enough, most)))
    except NotMeasuredError as error:
        return Pace(None, str(error))


def measured_lines(runs: Sequence[PlannedRun]) -> Iterator[str]:
    """Measure each kind of training that has not finished, and say what they take one by one and together."""
    waiting = {
        name: stage
        for name, stage in named_trainings(runs).items()
        if not Results().manifest(stage.record).is_file()
    }
    finished = f"{len(named_trainings(runs)) - len(waiting)} trainings have finished"
    if not waiting:
        yield f"{finished}; none is left to measure"
        return
    kinds = {kind_of(stage): stage for stage in reversed(waiting.values())}
    yield f"measuring {len(kinds)} kinds of training, up to {SECONDS:g} s each ..."
    paces = {kind: pace_of(stage) for kind, stage in kinds.items()}
    yield from aligned(
        [HEADER, *(_row(name, stage, paces[kind_of(stage)]) for name, stage in waiting.items())]
    )
    times = [paces[kind_of(stage)].seconds(stage) for stage in waiting.values()]
    known = [time for time in times if time is not None]
    left = f", {len(times) - len(known)} not measured" if len(known) < len(times) else ""
    yield f"{len(known)} trainings one after another: {duration(sum(known))}{left}; {finished}."
    yield "Preparing, ranking and evaluating come on top. Noise: images of the same sizes, where none are prepared yet."


def _row(name: str, stage: Stage, pace: Pace) -> tuple[str, ...]:
    steps = f"{stage.parameters.steps:,}"
    if pace.measured is None:
        return name, steps, "-", "-", "-", f"- ({pace.reason})"
    found, seconds = pace.measured, pace.seconds(stage)
    assert seconds is not None
    images = "prepared" if found.real else "noise"
    return name, steps, f"{found.seconds:.2f}", f"{found.memory / GIB:.2f}", duration(seconds), images
