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
from pipeline.artifacts.program import program
from pipeline.artifacts.software import versions
from pipeline.stages.base import Job, StageFile
from pipeline.stages.job_log import Ending, open_log
from pipeline.stages.kinds import KINDS
from pipeline.stages.results import Results
from pipeline.training.interruption import Interruption

AnyJob = Job[Any]


def _cause(job: AnyJob) -> str:
    """Digest of what a repeated failure depends on besides the key: software, parents, the data's files."""
    facts: dict[str, Any] = {"software": versions(), "settings": job.settings.model_dump(mode="json")}
    facts["parents"] = job.parent_digests
    if job.record.data is not None:
        facts["files"] = import_module("pipeline.stages.prepare").file_times(job)
    return digest_of(facts)


def _refuse_repeated_failure(job: AnyJob) -> None:
    path = job.folder.run / "failed.json"
    if not path.is_file():
        return
    failure = read_json(path)
    if failure["cause"] == _cause(job):
        raise SegadaptError(
            f"{failure['message']}\n(this failed before and nothing has changed since; fix the cause, or type "
            f"`{program()} clean {job.key}` to try again)"
        )
    path.unlink()


def _header(job: AnyJob, summary: dict[str, Any]) -> dict[str, Any]:
    record = job.record
    return {
        "key": record.key,
        "kind": record.kind,
        "version": KINDS[record.kind].version,
        "label": record.label,
        "seed": record.seed,
        "parents": {
            role: {"key": manifest["key"], "digest": manifest["digest"]}
            for role, manifest in sorted(job.parent_manifests.items())
        },
        "parameters": record.parameters.model_dump(mode="json", by_alias=True),
        "hashed": record.hashed,
        "summary": summary,
    }


def _alone(results: Results) -> bool:
    """Whether no other stage holds a lock right now: then the terminal may show a progress bar."""
    now = time.time()
    return not any(now - path.stat().st_mtime < STALE for path in results.locks())


def _record_run(job: AnyJob, started: float, outcome: str, message: str) -> None:
    """Append to `run/history.json`: outcome and its message, times, memory, machine, software of each attempt."""
    path = job.folder.run / "history.json"
    history = read_json(path) if path.is_file() else []
    history.append(
        {
            "outcome": outcome,
            "message": message,
            "started": round(started, 3),
            "seconds": round(time.time() - started, 3),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "host": platform.node(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "settings": job.settings.model_dump(mode="json"),
            "software": versions(),
            **job.notes,
        }
    )
    write_json(path, history)


@contextmanager
def _recorded(job: AnyJob) -> Iterator[None]:
    """Note in `run/` how the work inside ends; refuse to begin what failed before and would fail again."""
    started = time.time()
    _refuse_repeated_failure(job)
    outcome, message = "error", ""
    try:
        yield
        outcome = "finished"
    except Interrupted:
        outcome = "interrupted"
        raise
    except SegadaptError as error:
        outcome, message = "failed", str(error)
        if error.repeats:
            write_json(job.folder.run / "failed.json", {"message": str(error), "cause": _cause(job)})
        raise
    finally:
        _record_run(job, started, outcome, message)


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
        Ending(record.key, log) as ending,
        Interruption(runtime_minutes=settings.runtime_minutes) as interruption,
        FolderLock(folder.path) as lock,
    ):
        if folder.is_whole():
            folder.restore_manifest()
            log.info("already finished; the manifest is written again")
            return 0
        taken = "another process took this stage over"
        job: AnyJob = Job(
            file,
            settings,
            log,
            stop=lambda: interruption.reason() or (None if lock.still_ours() else taken),
            alone=alone,
            set_margin=lambda margin: setattr(interruption, "margin", margin),
            log_path=log_path,
        )
        log.info("start: %s", record.kind)
        with _recorded(job):
            _ = job.parent_manifests
            module = import_module(f"pipeline.stages.{record.kind}")
            job.folder.publish(_header(job, module.compute(job)))
        log.info("finished: %s", folder.path)
    return ending.code
