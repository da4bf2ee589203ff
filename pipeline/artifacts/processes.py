"""Which process on which machine: enough to tell a living owner from a dead one whose number was reused."""

import os
import socket
import time
from pathlib import Path

_LOADED = time.monotonic()
_START, _GROUP, _STATE = 19, 2, 0  # positions in /proc/<pid>/stat after the name, in proc(5) fields 22, 5, 3


def host_name() -> str:
    """This machine's name, for people."""
    return socket.gethostname()


def machine_identity() -> str:
    """What two processes share when they can see each other by number: the boot and the process namespace.

    Two containers of one name do not share it, nor does a machine with itself before a reboot. Without
    /proc (macOS) it is the host's name.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return host_name()


def boot_of(identity: str) -> str:
    """The boot in a machine's identity."""
    return identity.partition(" ")[0]


def permanent_identity() -> str:
    """What this machine keeps over reboots and shares with no other; "" where it has no such thing."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None when gone, a zombie, or unknowable."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in "ZX" else int(fields[_START])


def group_lives(group: int) -> bool:
    """Whether a process of that group still runs; one that has ended and is not waited for does not count."""
    if not Path("/proc/self/stat").is_file():
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
    return any(_group_of(path) == group for path in Path("/proc").glob("[0-9]*/stat"))


def _group_of(path: Path) -> int | None:
    try:
        fields = path.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in "ZX" else int(fields[_GROUP])


def process_age() -> float:
    """Seconds since this process started; without /proc (macOS) since this module was loaded."""
    ticks = start_time(os.getpid())
    if ticks is None:
        return time.monotonic() - _LOADED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
