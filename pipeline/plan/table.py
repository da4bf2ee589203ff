"""The plan for people: every stage with its state and the reason why it would run."""

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts.folder import FILES
from pipeline.plan.changes import Changes
from pipeline.plan.finished import Finished
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import Stage, in_order
from pipeline.stages.results import RESULTS, Results


def _failure(folder: Path) -> str | None:
    path = folder / "run" / "failed.json"
    if not path.is_file():
        return None
    message: str = json.loads(path.read_text(encoding="utf-8"))["message"]
    return message


def _state(stage: Stage, results: Path, waiting: set[str], changes: Changes) -> tuple[str, str]:
    """The stage's state and the reason, from what lies in its folder and in those like it."""
    if Results(results).manifest(stage.record).is_file():
        return "done", "under its key of the former rule" if stage.record.former else ""
    folder = Results(results).folder(stage.record).path
    if (folder / FILES).is_file():
        return "done", "its manifest is written again when asked for"
    failure = _failure(folder)
    if failure:
        return "failed", failure.splitlines()[0]
    if (folder / "state").is_dir() and any((folder / "state").iterdir()):
        return "to run", "goes on from its saved state"
    if why := changes.of(stage):
        return "to run", why
    blocked = [parent.key for parent in stage.parents.values() if parent.key in waiting]
    if blocked:
        return "to run", f"after {blocked[0]}" + (f" and {len(blocked) - 1} more" if len(blocked) > 1 else "")
    return "to run", "never run"


def names_of_stages(runs: Sequence[PlannedRun]) -> dict[str, str]:
    """What people call the stages, by key: the first experiment that uses one, and how many others do."""
    users: dict[str, list[str]] = {}
    for run in runs:
        further = [(f"{title} ", stages) for title, stages in run.also.items()]
        groups = (("", run.stages), ("select ", run.selects), ("evaluate ", run.evaluates), *further)
        for prefix, group in groups:
            for name, stage in group.items():
                users.setdefault(stage.key, []).append(f"{run.experiment}/seed{run.seed}:{prefix}{name}")
    return {key: named[0] + (f" +{len(named) - 1}" if len(named) > 1 else "") for key, named in users.items()}


def plan_rows(runs: Sequence[PlannedRun], results: Path = RESULTS) -> list[tuple[str, str, str, str]]:
    """One row per stage, parents first: state, experiments and names that use it, key, reason."""
    names = names_of_stages(runs)
    rows = []
    waiting: set[str] = set()
    changes = Changes(Finished(Results(results)))
    for stage in in_order(stage for run in runs for stage in run.all_stages()):
        state, why = _state(stage, results, waiting, changes)
        if state != "done":
            waiting.add(stage.key)
        rows.append((state, names.get(stage.key, "(data)"), stage.key, why))
    return rows


def plan_table(runs: Sequence[PlannedRun], results: Path = RESULTS) -> str:
    """The rows as aligned text, with a count at the end."""
    rows = plan_rows(runs, results)
    header = ("state", "used by", "stage", "why")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(3)]
    lines = [
        "  ".join([*(row[column].ljust(widths[column]) for column in range(3)), row[3]]).rstrip()
        for row in [header, *rows]
    ]
    done = sum(row[0] == "done" for row in rows)
    return "\n".join([*lines, f"{len(rows)} stages: {done} done, {len(rows) - done} to run"])
