"""Running one stage file: finished already, failed before, or compute and publish under the folder's lock."""

import logging
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import ArtifactError, Interrupted, SegadaptError, StateError, WorkerError
from pipeline.artifacts.files import digest_of, read_json, write_json
from pipeline.artifacts.lock import STALE, FolderLock
from pipeline.artifacts.software import versions
from pipeline.stages.base import StageFile, StageRun
from pipeline.stages.kinds import KINDS
from pipeline.stages.results import Results
from pipeline.training.interruption import Interruption
from pipeline.training.leases import DeviceError
from pipeline.training.progress import TerminalFilter

AnyRun = StageRun[Any]


def make_logger(key: str, log_path: Path | None) -> logging.Logger:
    """A logger with plain lines to the job's log file and, shorter, to the terminal."""
    # Everything below `pipeline` logs through the same handlers: a lost lock or a damaged state is news too.
    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers.clear()
    if log_path is not None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log_path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(file)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"[{key}] %(message)s"))
    terminal.addFilter(TerminalFilter())
    logger.addHandler(terminal)
    return logger.getChild("job")


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


def _compute(run: AnyRun) -> None:
    """Check the parents, compute, publish; a failure that would repeat is kept in `run/failed.json`."""
    started = time.time()
    _refuse_repeated_failure(run)
    outcome = "error"
    try:
        _ = run.parent_manifests
        module = import_module(f"pipeline.stages.{run.record.kind}")
        compute: Callable[[AnyRun], dict[str, Any]] = module.compute
        summary = compute(run)
        run.folder.publish(_header(run, summary))
        outcome = "finished"
    except Interrupted:
        outcome = "interrupted"
        raise
    except SegadaptError as error:
        outcome = "failed"
        if _would_repeat(error):
            write_json(run.folder.run / "failed.json", {"message": str(error), "cause": _cause(run)})
        raise
    finally:
        _record_run(run, started, outcome)


def _would_repeat(error: SegadaptError) -> bool:
    """A wrong input or a non-finite loss comes again; a damaged parent or a full disk may be mended by then."""
    return not isinstance(error, (ArtifactError, StateError, DeviceError, WorkerError))


def run_stage(path: Path, log_path: Path | None, runtime_minutes: float | None = None) -> int:
    """Run the stage of a stage file; returns the exit code (0 finished, 75 stopped with its state saved, 1 failed).

    `runtime_minutes`: the scheduler's limit, over the configuration's.
    """
    file = StageFile.read(path)
    return run_logged(file.record.key, log_path, lambda logger: _run_keyed(file, logger, runtime_minutes))


def run_logged(key: str, log_path: Path | None, work: Callable[[logging.Logger], int]) -> int:
    """Do `work` with a logger for the job `key`; errors are logged and become exit codes."""
    logger = make_logger(key, log_path)
    try:
        return work(logger)
    except Interrupted as stop:
        logger.warning("stopped (%s); the state is saved, the same command goes on from it", stop)
        return Interrupted.EXIT_CODE
    except SegadaptError as error:
        logger.error("%s", error)
        return 1
    except Exception:
        logger.error("unexpected error; please report it with this log\n%s", traceback.format_exc())
        return 1


def _run_keyed(file: StageFile, logger: logging.Logger, runtime_minutes: float | None) -> int:
    folder = file.folder
    settings = file.record.run
    if runtime_minutes is not None:
        settings = settings.model_copy(update={"runtime_minutes": runtime_minutes})
    alone = _alone(file.results)
    # The handlers stand before the lock is waited for: a signal while waiting ends the wait cleanly.
    with (
        Interruption(runtime_minutes=settings.runtime_minutes) as interruption,
        FolderLock(folder.path) as lock,
    ):
        if folder.is_whole():
            folder.restore_manifest()
            logger.info("already finished; the manifest is written again")
            return 0
        run: AnyRun = StageRun(
            file,
            settings,
            logger,
            lambda: (
                interruption.reason()
                or (None if lock.still_ours() else "another process took this stage over")
            ),
            alone,
            lambda margin: setattr(interruption, "margin", margin),
        )
        logger.info("start: %s", file.record.kind)
        _compute(run)
        logger.info("finished: %s", folder.path)
    return 0
