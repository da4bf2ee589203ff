"""GPUs shared out among the jobs of one user on one machine; free of torch, which must not look before.

Each job locks one file per GPU for the life of its process. The lock is the kernel's: a killed job frees its
GPU, and no leftover has to be cleaned up.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from pipeline.artifacts.errors import SegadaptError
from pipeline.artifacts.files import make_folder

VISIBLE = "CUDA_VISIBLE_DEVICES"
WAIT = 30.0  # seconds; the loader's workers of a killed job keep its GPU for a moment longer
_POLL = 0.5
AMPERE = 8
"""Compute capability of the first GPUs that multiply bfloat16 in hardware."""

_NONE = r"$|-|NoDevFiles"
"""What stands first in CUDA_VISIBLE_DEVICES where CUDA is to see no GPU."""
_held: dict[int, IO[str]] = {}  # closing a file would free its GPU


class DeviceError(SegadaptError):
    """The wished-for device is not there or not free; unlike bad input this may change by itself."""

    repeats = False


def default_folder() -> Path:
    """The folder of this user's lock files on this machine."""
    return Path(tempfile.gettempdir()) / f"segadapt-gpus-{os.getuid()}"


def count_gpus() -> int:
    """How many NVIDIA GPUs this machine has; 0 without a driver, or where CUDA_VISIBLE_DEVICES hides them all.

    DeviceError where the driver does not answer.
    """
    if re.match(_NONE, os.environ.get(VISIBLE, "0")):
        return 0
    return sum(line.startswith("GPU ") for line in _told_by_driver("-L"))


def gpus_have_bfloat16() -> bool | None:
    """Whether all NVIDIA GPUs here multiply bfloat16 in hardware; None without one."""
    if not count_gpus():
        return None
    capabilities = _told_by_driver("--query-gpu=compute_cap", "--format=csv,noheader")
    majors = [text.partition(".")[0] for text in capabilities]
    return bool(majors) and all(text.isdecimal() and int(text) >= AMPERE for text in majors)


def _told_by_driver(*question: str) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        asked = subprocess.run([program, *question], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(
            f"{program}: {error}; without its answer no GPU can be used: mend the driver, or set {VISIBLE}= to "
            "compute on the CPU"
        ) from error
    return asked.stdout.splitlines()


def held() -> list[int]:
    """The GPUs that this process has leased, in the order in which CUDA numbers them."""
    return list(_held)


def lease_gpus(
    candidates: Sequence[int],
    count: int,
    folder: Path,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Lock `count` of the `candidates` until the process ends, and show CUDA these alone.

    Must come before CUDA is first used. Takes all or, after a wait of 30 s, none: DeviceError. Does nothing
    where CUDA_VISIBLE_DEVICES is set: a scheduler, the user or an earlier call has chosen.
    """
    if VISIBLE in os.environ:
        return
    make_folder(folder)
    deadline = clock() + WAIT
    while len(taken := _try(candidates, count, folder)) < count:
        _close(taken)
        if clock() >= deadline:
            raise DeviceError(
                f"{len(taken)} of the GPUs {list(candidates)} are free, {count} are needed; run no "
                f"more GPU jobs at once than there are GPUs (--resources gpu=N), or set {VISIBLE} yourself"
            )
        sleep(_POLL)
    _held.update(taken)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi numbers them
    os.environ[VISIBLE] = ",".join(str(index) for index in taken)


def _try(candidates: Sequence[int], count: int, folder: Path) -> dict[int, IO[str]]:
    taken: dict[int, IO[str]] = {}
    for index in candidates:
        if len(taken) == count:
            break
        file = (folder / str(index)).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            taken[index] = file
    return taken


def _close(files: dict[int, IO[str]]) -> None:
    for file in files.values():
        file.close()
