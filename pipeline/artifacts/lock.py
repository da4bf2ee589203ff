"""One process at a time in a stage's folder, on one machine or on many that share a disk.

    with FolderLock(artifact.path) as lock:
        ...

The lock is the newest of the numbered files `run/lock-<n>.json`. To take it, a process makes number n + 1,
which only one can; the owner writes to its own number alone. So nobody ever deletes a lock that might have
changed hands, and taking over from a dead owner is as safe as the first taking. The file says who owns it:
host, process, its start, SLURM job. Its modification time is the heartbeat, set every 30 s (that works on a
full disk too); the beginning of the epoch means released.
"""

import errno
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import make_folder, read_json, storage_error, temporary_beside
from pipeline.artifacts.processes import host_name, machine_identity, start_time

HEARTBEAT = 30.0  # seconds between two signs of life
STALE = 300.0  # seconds without one after which an owner on another machine counts as dead
WAIT = 60.0  # seconds a twin waits for the owner to end
_POLL = 1.0
_RELEASED = 0.0
_NAME = re.compile(r"lock-(\d+)\.json")
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})

_log = logging.getLogger(__name__)


class FolderBusyError(ArtifactError):
    """Another living process works in the folder; unlike bad input this ends when the owner does."""


class FolderLock:
    """Hold the folder of a stage for the life of a `with` block.

    `folder` is the artifact's folder. `clock` gives seconds since the epoch; it and `sleep` are for tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wait: float = WAIT,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._run = folder / "run"
        self._wait = wait
        self._clock = clock
        self._sleep = sleep
        self._file: Path | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Take the lock; FolderBusyError names the owner when it is still alive after the wait."""
        make_folder(self._run)
        deadline = self._clock() + self._wait
        while not self._try():
            if self._clock() >= deadline:
                raise FolderBusyError(self._complaint())
            self._sleep(_POLL)
        self._ended.clear()
        threading.Thread(target=self._beat_until_ended, name="folder-lock", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the folder back; a lock that was taken over meanwhile is left to its new owner."""
        self._ended.set()
        if self.still_ours():
            self._stamp(_RELEASED)
        self._file = None

    def still_ours(self) -> bool:
        """Whether nobody took the folder over; false for ever once that happened (frozen for 5 minutes)."""
        return self._file is not None and self._newest() == self._file

    def beat(self) -> bool:
        """Give a sign of life; false when the lock is no longer ours."""
        return self.still_ours() and self._stamp(self._clock())

    def _try(self) -> bool:
        newest = self._newest()
        if newest is not None and self._alive(newest):
            return False
        mine = self._run / f"lock-{_number(newest) + 1}.json"
        if not self._create(mine):
            return False
        if self._newest() != mine:  # we listed the folder long ago: that number had come and gone since
            mine.unlink(missing_ok=True)
            return False
        self._file = mine
        for old in self._locks():
            if _number(old) < _number(mine):
                old.unlink(missing_ok=True)
        return True

    def _create(self, path: Path) -> bool:
        """Make `path` with its whole content, unless it exists."""
        temporary = temporary_beside(path)
        try:
            temporary.write_text(json.dumps(_identity(), indent=1) + "\n", encoding="utf-8")
            os.utime(temporary, (self._clock(), self._clock()))
            _link_or_create(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            raise storage_error(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _alive(self, path: Path) -> bool:
        heartbeat = _heartbeat(path)
        if heartbeat == _RELEASED:
            return False
        owner = _owner(path)
        if owner.get("machine") == machine_identity() and isinstance(owner.get("started"), int):
            return start_time(owner["pid"]) == owner["started"]
        return self._clock() - heartbeat < STALE

    def _beat_until_ended(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            try:
                ours = self.beat()
            except OSError as error:  # a network disk that is away for a moment must not end the heartbeat
                _log.warning("cannot renew the lock of %s: %s; trying again", self._folder, error)
                continue
            if not ours:
                _log.error("%s was taken over by another process; this one must stop", self._folder)
                return

    def _stamp(self, moment: float) -> bool:
        assert self._file is not None
        try:
            os.utime(self._file, (moment, moment))
        except FileNotFoundError:  # a new owner removed our number
            return False
        return True

    def _locks(self) -> list[Path]:
        return [path for path in self._run.iterdir() if _NAME.fullmatch(path.name)]

    def _newest(self) -> Path | None:
        return max(self._locks(), key=_number, default=None) if self._run.is_dir() else None

    def _complaint(self) -> str:
        path = self._newest()
        owner = _owner(path) if path else {}
        job = f", SLURM job {owner['job']}" if owner.get("job") else ""
        age = max(0.0, self._clock() - _heartbeat(path)) if path else 0.0
        return (
            f"{self._folder} is in use by process {owner.get('pid', '?')} on {owner.get('host', '?')}{job}; "
            f"its last sign of life is {age:.0f} s old (waited {self._wait:.0f} s). Let it end or stop it, "
            f"then start again. An owner on another machine counts as dead after {STALE:.0f} s of silence."
        )


def _identity() -> dict[str, Any]:
    return {
        "host": host_name(),
        "machine": machine_identity(),
        "pid": os.getpid(),
        "started": start_time(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _link_or_create(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with path.open(
            "xb"
        ) as file:  # a disk without hard links: a kill just here costs 5 minutes of waiting
            file.write(temporary.read_bytes())


def _number(path: Path | None) -> int:
    match = _NAME.fullmatch(path.name) if path else None
    return int(match[1]) if match else 0


def _heartbeat(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return _RELEASED


def _owner(path: Path) -> dict[str, Any]:
    """Who owns the lock; nobody in particular when the file is damaged, so that its age decides."""
    try:
        owner = read_json(path)
    except ArtifactError:
        return {}
    return owner if isinstance(owner, dict) and isinstance(owner.get("pid"), int) else {}
