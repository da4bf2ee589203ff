"""What the trainings of a plan need: memory, estimated without any, and hours where a GPU was measured."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pipeline.config.shipped import shipped
from pipeline.numerics import WidthHeight
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import Stage
from pipeline.training.parameters import TrainParameters

if TYPE_CHECKING:
    from pipeline.training.step_memory import StepMemory

FIGURES = shipped("gpu-h200.json")
MEASURED = {"source": (1280, 720), "target": (1024, 512)}
"""Sizes of the images of the step that `benchmarks/gpu.py` times, on ResNet-101 with both heads."""
MEASURED_FLOPS = 6.82e12
"""What AdvEnt's step computes there, as `step_memory` counts it."""
HEADER = ("training", "trained", "weights", "optimiser", "step", "peak", "H200", "")
HOURS = HEADER.index("H200")
NOT_KNOWN, ESTIMATED = "-", "~"
GIB = 2**30


def cost_table(runs: Sequence[PlannedRun], without_hours: Sequence[str] = ()) -> str:
    """One line for each training that differs in more than its seed or data: GiB by part, and hours where known.

    `without_hours`: what to add where no hours are known.
    """
    rows = [_row(name, stage) for name, stage in _distinct(runs)]
    hours = [row[HOURS] for row in rows if row[HOURS] != NOT_KNOWN]
    if not hours:
        rows = [(*row[:HOURS], *row[HOURS + 1 :]) for row in rows]
    header = HEADER if hours else tuple(column for column in HEADER if column != HEADER[HOURS])
    return "\n".join(
        [*aligned([header, *rows]), " ".join([*_notes(hours), *([] if hours else without_hours)])]
    )


def _notes(hours: Sequence[str]) -> Iterator[str]:
    """What the columns mean; `hours`: those that are known."""
    yield f"Millions of numbers trained, GiB on one device{', hours by benchmarks/out' if hours else ''}."
    yield "`step`: activations, gradients and intermediate results; what kernels use themselves comes on top."
    if any(one.startswith(ESTIMATED) for one in hours):
        yield (
            f"{ESTIMATED}: not measured, but the step's arithmetic at the rate of AdvEnt's; the order of magnitude."
        )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _distinct(runs: Iterable[PlannedRun]) -> Iterable[tuple[str, Stage]]:
    seen = set()
    for run in runs:
        for name, stage in run.trained.items():
            network = stage.record.network
            assert network is not None
            said = network.model_dump_json() + stage.parameters.model_dump_json() + str(domain_sizes(stage))
            if said not in seen:
                seen.add(said)
                yield f"{run.experiment}:{name}", stage


def _row(name: str, stage: Stage) -> tuple[str, ...]:
    sizes = domain_sizes(stage)
    if None in sizes.values():
        return (name, *[NOT_KNOWN] * HOURS, "(images of their own sizes)")
    known = {role: size for role, size in sizes.items() if size is not None}
    try:
        memory = _memory(stage, known)
    except (NotImplementedError, RuntimeError) as error:
        return (name, *[NOT_KNOWN] * HOURS, f"(needs numbers: {str(error).splitlines()[0]})")
    parts = (memory.weights, memory.optimiser, memory.step, memory.peak)
    return (
        name,
        f"{memory.trained / 1e6:.1f}",
        *(f"{part / GIB:.2f}" for part in parts),
        _hours(stage, known, memory.flops),
        "",
    )


def _memory(stage: Stage, sizes: Mapping[str, WidthHeight]) -> "StepMemory":
    from pipeline.training.step_memory import step_memory  # it alone needs torch

    network, parameters = stage.record.network, stage.parameters
    assert network is not None
    pseudo = parameters.objective.pseudo_labelled
    labelled = frozenset(role for role in sizes if role != "target" or role in pseudo)
    return step_memory(network.parameters, network.num_classes, parameters, sizes, labelled)


def domain_sizes(stage: Stage) -> dict[str, WidthHeight | None]:
    """Width and height of what a step sees of each domain; None where each image has its own."""
    parameters: TrainParameters = stage.parameters
    return {role: _size(parameters, role, stage) for role in parameters.objective.domains()}


def _size(parameters: TrainParameters, role: Any, stage: Stage) -> WidthHeight | None:
    augmentation = parameters.augmentation.get(role)
    if augmentation and augmentation.crop:
        return augmentation.crop
    if augmentation and (augmentation.scale or augmentation.shorter_side):
        return None
    return prepared_size(role, stage)


def prepared_size(role: str, stage: Stage) -> WidthHeight | None:
    """Width and height of a domain's images as they are prepared; None where each keeps its own."""
    prepared = stage.parents[role]
    size: WidthHeight | None = prepared.parameters.size
    data = prepared.record.data
    return data.dataset.size if size is None and data and data.dataset.format == "streets" else size


def _hours(stage: Stage, sizes: Mapping[str, WidthHeight], flops: int) -> str:
    """Steps times the time of a step: the measured one, or after `~` by arithmetic at the rate of AdvEnt's.

    `-` without figures of its precision, and for a step that computes so little that launching kernels takes the time.
    """
    parameters: TrainParameters = stage.parameters
    network = stage.record.network
    assert network is not None
    same = (network.parameters.backbone, network.parameters.levels) == ("resnet101_caffe", "multi")
    wanted = f"{stage.record.determinism} {parameters.precision}"
    measured = _measured()
    own = _milliseconds(measured.get(parameters.method, []), wanted)
    if own and same and parameters.batch == 1 and sizes == MEASURED:
        return f"{parameters.steps * own / 3.6e6:.1f}"
    milliseconds = _milliseconds(chain.from_iterable(measured.values()), wanted)
    if not milliseconds or flops < MEASURED_FLOPS / 2:
        return NOT_KNOWN
    return f"{ESTIMATED}{parameters.steps * milliseconds * flops / MEASURED_FLOPS / 3.6e6:.1f}"


def _measured() -> dict[str, list[dict[str, Any]]]:
    """The figures of a GPU by section, which for a step is its method; the one step there is AdvEnt's."""
    sections = json.loads(FIGURES.read_text("utf-8"))["sections"]
    return {name: section.get("rows", []) for name, section in sections.items()}


def _milliseconds(rows: Iterable[Mapping[str, Any]], label: str) -> float:
    """The time of a step under settings of that label; 0 where it was not measured."""
    return next((float(row["ms"]) for row in rows if row["label"].startswith(label)), 0.0)
