"""Who works in a folder: each main process leaves a note of itself beside Snakemake's lock.

    .snakemake/locks/               Snakemake's own; it stays when its owner is killed, and says not who that was
    .snakemake/owners/<name>.json   process, its start, host, machine, time; written before the lock is taken

A process removes its note when it ends. So a lock is left over for certain only when every note beside it is of a
process on this host that is dead.
"""

import atexit
import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pipeline.artifacts.errors import ArtifactError, SegadaptError
from pipeline.artifacts.files import is_leftover, read_json, write_json
from pipeline.artifacts.processes import boot_of, host_name, machine_identity, permanent_identity, start_time

LOCKS = Path(".snakemake/locks")
NOTES = Path(".snakemake/owners")
FORGOTTEN = 3600.0  # seconds after which the note of another host counts no longer where nothing is locked


class LockedError(SegadaptError):
    """A lock whose owner may be alive stands in the way."""


@dataclass(frozen=True)
class Owner:
    """A main process: `started` in clock ticks since boot (None where unknowable), `since` for people."""

    pid: int
    started: int | None
    host: str
    machine: str
    permanent: str
    since: str

    @classmethod
    def this(cls) -> "Owner":
        """The process that asks."""
        pid = os.getpid()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(pid, start_time(pid), host_name(), machine_identity(), permanent_identity(), since)

    def state(self) -> Literal["alive", "dead", "unknown"]:
        """Whether it lives, as far as this process can see."""
        if self.machine == machine_identity():
            return "alive" if _runs(self.pid, self.started) else "dead"
        here = self.permanent != "" and (self.permanent, self.host) == (permanent_identity(), host_name())
        # A container has no identity that outlives it; another one on this host cannot be looked into.
        return "dead" if here and boot_of(self.machine) != boot_of(machine_identity()) else "unknown"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def _runs(pid: int, started: int | None) -> bool:
    if started is not None:
        return start_time(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sign() -> None:
    """Leave this process's note until it ends; what is left of others that can hold no lock is removed."""
    if not is_locked():
        _forget()
    note = NOTES / f"{os.getpid()}-{secrets.token_hex(4)}.json"
    write_json(note, asdict(Owner.this()))
    atexit.register(note.unlink, missing_ok=True)


def is_locked() -> bool:
    """Whether Snakemake's lock, or what a kill left of it, is there."""
    return any(LOCKS.glob("*.lock"))


def owners() -> dict[Path, Owner]:
    """Every note; one that cannot be read is somebody of whom nothing is known."""
    found = {}
    for path in sorted(NOTES.glob("*.json")):
        if is_leftover(path):
            continue
        try:
            found[path] = Owner(**read_json(path))
        except (ArtifactError, TypeError):
            if path.exists():  # else its process has ended meanwhile
                found[path] = Owner(0, None, "an unknown host", "", "", "an unknown time")
    return found


def living() -> list[Owner]:
    """The main processes that work here now, on this host; this process is not among them."""
    return [one for one in owners().values() if one.state() == "alive" and one.pid != os.getpid()]


def clear_lock() -> bool:
    """Remove the lock that a killed main process left; False where there is none.

    LockedError: nobody left a note of owning it, or one of whom this host cannot say that it is dead.
    """
    if not is_locked():
        return False
    found = owners()
    doubtful = [owner for owner in found.values() if owner.state() != "dead"]
    if doubtful or not found:
        who = "; ".join(map(str, doubtful)) or "nobody left a note of having taken it"
        raise LockedError(
            f"{LOCKS} says that a Snakemake works here, and whether it still lives cannot be seen from here "
            f"({who}). When it has ended, type `snakemake --unlock`, then the same command again"
        )
    shutil.rmtree(LOCKS)
    for note in found:
        note.unlink(missing_ok=True)
    return True


def _forget() -> None:
    for path, owner in owners().items():
        with suppress(FileNotFoundError):
            old = time.time() - path.stat().st_mtime > FORGOTTEN
            if owner.state() == "dead" or (owner.state() == "unknown" and old):
                path.unlink()
