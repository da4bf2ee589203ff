"""One main process at a time in a folder: `start`, `suggest`, `clean` and `import` wait for each other.

A lock that the kernel frees when its holder dies keeps two such commands apart. The notes beside Snakemake's own
lock say whether somebody's Snakemake works here, or a killed one left that lock behind.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.artifacts.files import make_folder, storage_error
from pipeline.artifacts.owners import clear_lock, living
from pipeline.artifacts.processes import start_time
from pipeline.stages.results import Results


class RunLock(NamedTuple):
    """The run lock, held: its file descriptor, and whether another run had to be waited for."""

    descriptor: int
    waited: bool


@contextlib.contextmanager
def sole_run(path: Path) -> Iterator[RunLock]:
    """Hold the run lock; wait while another run holds it, saying so."""
    make_folder(path.parent)
    try:
        opened = path.open("a+")
    except OSError as error:
        raise storage_error(path, error) from error
    with opened as file:
        said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    file.seek(0)
                    _print_waiting(_holder(file.read().strip()))
                    said = True
                time.sleep(1)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield RunLock(file.fileno(), waited=said)


def _holder(number: str) -> str:
    """Who holds the run lock that the process of this number took: it, or the Snakemake that it left."""
    if number.isdecimal() and start_time(int(number)) is not None:
        return f"process {number}"
    return f"the Snakemake of process {number or 'unknown'}, which has ended"


def _print_waiting(owner: str) -> None:
    print(f"another run works here ({owner}); waiting for it", flush=True)


def wait_for_others() -> bool:
    """Wait while somebody's Snakemake works here, saying so: its lock is not ours to clear. Returns whether one did."""
    said = False
    while others := living():
        if not said:
            _print_waiting(str(others[0]))
            said = True
        time.sleep(1)
    return said


@contextlib.contextmanager
def nobody_else() -> Iterator[RunLock]:
    """As `sole_run`, with nobody's Snakemake at work either; the lock that a killed one left is cleared.

    LockedError: it may be alive, on another host.
    """
    with sole_run(Results().run_lock()) as lock:
        waited = wait_for_others()
        if clear_lock():
            print("clearing the lock that a killed run left behind", flush=True)
        yield lock._replace(waited=lock.waited or waited)
