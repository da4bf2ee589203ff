"""What a run took, from the notes of its stages' attempts, and what a page says of it."""

from collections.abc import Sequence
from typing import Any

from pipeline.artifacts.files import read_json
from pipeline.plan.records import RunRecord
from pipeline.report import tables
from pipeline.report.model import Cost, ExperimentRecord
from pipeline.stages.record import ArtifactRef
from pipeline.stages.results import Results


def costs_of(results: Results, record: RunRecord) -> tuple[Cost, ...]:
    """What each of a run's stages took, and each prepared split; those without notes are left out."""
    stages: dict[str, tuple[str, ArtifactRef]] = {}
    for name, stage in _named(record):
        for parent in results.record(stage.key).parents.values():
            if parent.rule == "prepare":
                stages.setdefault(parent.key, ("prepare", parent))
        stages.setdefault(stage.key, (name, stage))
    found = (_cost(results, name, record.seed, stage) for name, stage in stages.values())
    return tuple(cost for cost in found if cost is not None)


def _named(record: RunRecord) -> list[tuple[str, ArtifactRef]]:
    further = [ref for refs in record.also.values() for ref in refs.values()]
    scored = [*record.evaluates.values(), *further]
    return [
        *((stage.name, stage) for stage in record.stages),
        *(("select", stage) for stage in record.selects.values()),
        *(("evaluate", stage) for stage in scored),
    ]


def _cost(results: Results, name: str, seed: int, stage: ArtifactRef) -> Cost | None:
    path = results.folder(stage).run / "history.json"
    if not path.is_file():
        return None
    attempts = read_json(path)
    return Cost(
        stage=name,
        seed=seed,
        key=stage.key,
        seconds=sum(one["seconds"] for one in attempts),
        memory_mb=max(one["peak_memory_mb"] for one in attempts),
        device=attempts[-1].get("device", "cpu"),
        attempts=len(attempts),
    )


def cost_view(item: ExperimentRecord) -> list[dict[str, Any]]:
    """A line per stage of an experiment: minutes over the seeds, the highest memory, devices, repeated attempts."""
    by_stage: dict[str, list[Cost]] = {}
    for cost in {cost.key: cost for cost in item.costs}.values():
        by_stage.setdefault(cost.stage, []).append(cost)
    return [_line(stage, costs) for stage, costs in by_stage.items()]


def _line(stage: str, costs: Sequence[Cost]) -> dict[str, Any]:
    per_artifact = tables.spread(cost.seconds for cost in costs)
    return {
        "stage": stage,
        "artifacts": len(costs),
        "each": "" if per_artifact is None else duration(per_artifact.mean),
        "seconds": round(sum(cost.seconds for cost in costs), 1),
        "all": duration(sum(cost.seconds for cost in costs)),
        "memory": f"{max(cost.memory_mb for cost in costs) / 1000:.1f} GB",
        "devices": ", ".join(sorted({cost.device for cost in costs})),
        "attempts": sum(cost.attempts for cost in costs),
    }


def duration(seconds: float) -> str:
    """`8 s`, `3.2 min` or `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
