"""Running one stage file: finished already, failed before, or compute and publish under the folder's lock."""

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import Interrupted, SegadaptError
from pipeline.artifacts.files import digest_of, read_json, write_json
from pipeline.artifacts.lock import STALE, FolderLock
from pipeline.stages.base import StageFile, StageRun
from pipeline.stages.job_log import Ending, open_log
from pipeline.stages.kinds import KINDS
from pipeline.training.interruption import Interruption
from pipeline.training.parameters import RunSettings

SOFTWARE = ("python", "torch", "torchvision", "numpy", "pillow", "safetensors", "scipy")


def software() -> dict[str, str]:
    """Versions of everything whose change may change bits; imports nothing of it."""
    return {
        name: platform.python_version() if name == "python" else metadata.version(name) for name in SOFTWARE
    }


def _cause(run: StageRun) -> str:
    """Digest of what a repeated failure depends on besides the key: software, parents, the data's files."""
    facts: dict[str, Any] = {"software": software(), "settings": run.settings.model_dump(mode="json")}
    facts["parents"] = {role: manifest["digest"] for role, manifest in run.parent_manifests.items()}
    if run.file.record["kind"] == "prepare":
        facts["files"] = import_module("pipeline.stages.prepare").file_times(run)
    return digest_of(facts)


def _refuse_repeated_failure(run: StageRun) -> None:
    path = run.folder.run / "failed.json"
    if not path.is_file():
        return
    failure = read_json(path)
    if failure["cause"] == _cause(run):
        raise SegadaptError(
            f"{failure['message']}\n(this failed before and nothing has changed since; mend the cause, or type "
            f"`python -m pipeline clean {run.key}` to try again)"
        )
    path.unlink()


def _header(run: StageRun, summary: dict[str, Any]) -> dict[str, Any]:
    record = run.file.record
    return {
        "key": run.key,
        "kind": record["kind"],
        "version": KINDS[record["kind"]].version,
        "label": record["label"],
        "seed": record["seed"],
        "parents": {
            role: {"key": manifest["key"], "digest": manifest["digest"]}
            for role, manifest in sorted(run.parent_manifests.items())
        },
        "parameters": dict(record["parameters"]),
        "hashed": dict(record["hashed"]),
        "summary": summary,
    }


def _alone(results: Path) -> bool:
    """Whether no other stage holds a lock right now: then the terminal may show a progress bar."""
    now = time.time()
    return not any(now - path.stat().st_mtime < STALE for path in results.glob("*/*/run/lock-*.json"))


def _record_run(run: StageRun, started: float, outcome: str) -> None:
    """Append to `run/history.json`: times, memory, machine, software of each attempt."""
    path = run.folder.run / "history.json"
    history = read_json(path) if path.is_file() else []
    history.append(
        {
            "outcome": outcome,
            "started": round(started, 3),
            "seconds": round(time.time() - started, 3),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "host": platform.node(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "settings": run.settings.model_dump(mode="json"),
            "software": software(),
            **run.notes,
        }
    )
    write_json(path, history)


@contextmanager
def _recorded(run: StageRun) -> Iterator[None]:
    """Note in `run/` how the work inside ends; refuse to begin what failed before and would fail again."""
    started = time.time()
    _refuse_repeated_failure(run)
    outcome = "error"
    try:
        yield
        outcome = "finished"
    except Interrupted:
        outcome = "interrupted"
        raise
    except SegadaptError as error:
        outcome = "failed"
        if error.repeats:
            write_json(run.folder.run / "failed.json", {"message": str(error), "cause": _cause(run)})
        raise
    finally:
        _record_run(run, started, outcome)


def run_stage(path: Path, log_path: Path | None, runtime_minutes: float | None = None) -> int:
    """Run the stage of a stage file; returns the exit code (0 finished, 75 stopped with its state saved, 1 failed).

    `runtime_minutes`: the scheduler's limit, over the configuration's.
    """
    file = StageFile.read(path)
    kind, folder = file.record["kind"], file.folder
    settings = RunSettings.model_validate(file.record["run"])
    if runtime_minutes is not None:
        settings = settings.model_copy(update={"runtime_minutes": runtime_minutes})
    log, alone = open_log(str(file.record["key"]), log_path), _alone(file.results)
    # The handlers stand before the lock is waited for: a signal while waiting ends the wait cleanly.
    with (
        Ending(log) as ending,
        Interruption(runtime_minutes=settings.runtime_minutes) as interruption,
        FolderLock(folder.path) as lock,
    ):
        if folder.is_whole():
            folder.restore_manifest()
            log.info("already finished; the manifest is written again")
            return 0
        taken = "another process took this stage over"
        run = StageRun(
            file,
            settings,
            log,
            stop=lambda: interruption.reason() or (None if lock.still_ours() else taken),
            alone=alone,
            set_margin=lambda margin: setattr(interruption, "margin", margin),
            log_path=log_path,
        )
        log.info("start: %s", kind)
        with _recorded(run):
            _ = run.parent_manifests
            run.folder.publish(_header(run, import_module(f"pipeline.stages.{kind}").compute(run)))
        log.info("finished: %s", folder.path)
    return ending.code
