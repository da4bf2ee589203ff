"""Running one stage file: finished already, failed before, or compute and publish under the folder's lock."""

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import Interrupted, SegadaptError
from pipeline.artifacts.files import digest_of, read_json, write_json
from pipeline.artifacts.lock import STALE, FolderLock
from pipeline.artifacts.software import versions
from pipeline.stages.base import StageFile, StageRun
from pipeline.stages.job_log import Ending, open_log
from pipeline.stages.kinds import KINDS
from pipeline.stages.results import Results
from pipeline.training.interruption import Interruption

AnyRun = StageRun[Any]


def _cause(run: AnyRun) -> str:
    """Digest of what a repeated failure depends on besides the key: software, parents, the data's files."""
    facts: dict[str, Any] = {"software": versions(), "settings": run.settings.model_dump(mode="json")}
    facts["parents"] = run.parent_digests
    if run.record.data is not None:
        facts["files"] = import_module("pipeline.stages.prepare").file_times(run)
    return digest_of(facts)


def _refuse_repeated_failure(run: AnyRun) -> None:
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


def _header(run: AnyRun, summary: dict[str, Any]) -> dict[str, Any]:
    record = run.record
    return {
        "key": record.key,
        "kind": record.kind,
        "version": KINDS[record.kind].version,
        "label": record.label,
        "seed": record.seed,
        "parents": {
            role: {"key": manifest["key"], "digest": manifest["digest"]}
            for role, manifest in sorted(run.parent_manifests.items())
        },
        "parameters": record.parameters.model_dump(mode="json", by_alias=True),
        "hashed": record.hashed,
        "summary": summary,
    }


def _alone(results: Results) -> bool:
    """Whether no other stage holds a lock right now: then the terminal may show a progress bar."""
    now = time.time()
    return not any(now - path.stat().st_mtime < STALE for path in results.locks())


def _record_run(run: AnyRun, started: float, outcome: str) -> None:
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
            "software": versions(),
            **run.notes,
        }
    )
    write_json(path, history)


@contextmanager
def _recorded(run: AnyRun) -> Iterator[None]:
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
    record, folder = file.record, file.folder
    settings = record.run
    if runtime_minutes is not None:
        settings = settings.model_copy(update={"runtime_minutes": runtime_minutes})
    log, alone = open_log(record.key, log_path), _alone(file.results)
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
        run: AnyRun = StageRun(
            file,
            settings,
            log,
            stop=lambda: interruption.reason() or (None if lock.still_ours() else taken),
            alone=alone,
            set_margin=lambda margin: setattr(interruption, "margin", margin),
            log_path=log_path,
        )
        log.info("start: %s", record.kind)
        with _recorded(run):
            _ = run.parent_manifests
            module = import_module(f"pipeline.stages.{record.kind}")
            run.folder.publish(_header(run, module.compute(run)))
        log.info("finished: %s", folder.path)
    return ending.code
