"""Where a run stopped, why, and the last lines of the logs: what its suite's page says instead of figures."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.plan.records import RunRecord
from pipeline.report.model import Unfinished
from pipeline.stages.record import ArtifactRef
from pipeline.stages.results import Results

LINES = 15
"""Of a log, from its end."""


def unfinished_stages(results: Results, records: Iterable[RunRecord]) -> tuple[Unfinished, ...]:
    """The stages that stand between runs and their figures, each once; () when all runs have finished.

    They have not finished, and everything that they read has.
    """
    runs: dict[str, list[tuple[str, int]]] = {}
    stages: dict[str, ArtifactRef] = {}
    for record in records:
        found = {
            stage.key: stage for needed in record.artifacts() for stage in _first_missing(results, needed)
        }
        stages |= found
        for key in found:
            runs.setdefault(key, []).append((record.experiment, record.seed))
    return tuple(
        Unfinished(
            tuple(runs[key]),
            key,
            _reason(results.folder(stage)),
            _last_lines(results.root.parent / "logs" / stage.rule / f"{key}.log"),
        )
        for key, stage in stages.items()
    )


def _first_missing(results: Results, stage: ArtifactRef) -> Iterator[ArtifactRef]:
    """The stage itself, or those of its ancestors that it waits for; nothing when it has finished."""
    if results.manifest(stage).is_file():
        return
    parents = results.record(stage.key).parents.values()
    missing = [first for parent in parents for first in _first_missing(results, parent)]
    yield from missing or [stage]


def _reason(folder: ArtifactFolder) -> str:
    """What the stage said when it failed, or how its last attempt ended."""
    if (folder.run / "failed.json").is_file():
        return str(read_json(folder.run / "failed.json")["message"])
    if (folder.run / "history.json").is_file():
        last = read_json(folder.run / "history.json")[-1]
        ended = last["outcome"]
        return last.get("message") or (
            "stopped, its state saved" if ended == "interrupted" else f"ended: {ended}"
        )
    return "ended without a word, as by a kill" if folder.run.is_dir() else "not started"


def _last_lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    return tuple(path.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:])
