"""Where a run stopped, why, and the last lines of the logs: what its suite's page says instead of figures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.report.model import Unfinished

LINES = 15
"""Of a log, from its end."""


def unfinished_stages(results: Path, record: Mapping[str, Any]) -> tuple[Unfinished, ...]:
    """The stages of an experiment's run that stand between it and its figures; () when it has finished.

    They have not finished, and everything that they read has. `record`: the run's file in `results/stages/`.
    """
    needed = [*record["stages"], *record["selects"].values(), *record["evaluates"].values()]
    found = {stage["key"]: stage for parent in needed for stage in _first_missing(results, parent)}
    return tuple(
        Unfinished(
            experiment=record["experiment"],
            seed=record["seed"],
            stage=stage["key"],
            reason=_reason(results / stage["rule"] / stage["key"]),
            log=_last_lines(results.parent / "logs" / stage["rule"] / f"{stage['key']}.log"),
        )
        for stage in found.values()
    )


def _first_missing(results: Path, stage: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The stage itself, or those of its ancestors that it waits for; nothing when it has finished."""
    if (results / stage["rule"] / stage["key"] / "artifact.json").is_file():
        return
    parents = read_json(results / "stages" / f"{stage['key']}.json")["parents"].values()
    missing = [first for parent in parents for first in _first_missing(results, parent)]
    yield from missing or [stage]


def _reason(folder: Path) -> str:
    """What the stage said when it failed, or how its last attempt ended."""
    run = ArtifactFolder(folder).run
    if (run / "failed.json").is_file():
        return str(read_json(run / "failed.json")["message"])
    if (run / "history.json").is_file():
        ended = read_json(run / "history.json")[-1]["outcome"]
        return "stopped, its state saved" if ended == "interrupted" else f"ended: {ended}"
    return "ended without a word, as by a kill" if run.is_dir() else "not started"


def _last_lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    return tuple(path.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:])
