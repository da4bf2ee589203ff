"""How many processor cores a job really has: a machine's number says little on a shared node or in a container."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

EXACT_THREADS = 2
"""Threads of `determinism: exact` on every machine: a CPU's sums are rounded otherwise by more or fewer."""
MOST = 8
"""Cores that a stage takes at most unless told; beyond that little is gained, and other stages wait."""
CGROUP = Path("/sys/fs/cgroup")
SLURM = "SLURM_CPUS_PER_TASK"
CPUINFO = Path("/proc/cpuinfo")


def job_cores(environment: Mapping[str, str] = os.environ, cgroup: Path = CGROUP) -> int:
    """Cores of this process: the fewest that its affinity, its control group and SLURM allow, at least 1."""
    limits = [_affinity(), _quota(cgroup)]
    if environment.get(SLURM, "").isdecimal():
        limits.append(int(environment[SLURM]))
    return max(1, min(limit for limit in limits if limit is not None))


def thread_count(setting: int | None, exact: bool) -> int:
    """CPU threads of a stage: those of `run: threads`, else what determinism and the job's cores allow."""
    if setting is not None:
        return setting
    return EXACT_THREADS if exact else shared_cores()


def shared_cores() -> int:
    """Processes or threads that fill a stage's share of the job's cores."""
    return min(MOST, job_cores())


def has_quick_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor multiplies bfloat16 in hardware, as x86's AMX does; False where that is not known."""
    try:
        return "amx_bf16" in cpuinfo.read_text("utf-8").split()
    except OSError:
        return False


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup: Path) -> int | None:
    """Processor time per time that the control group may use, rounded up: version 2, then 1; None without a limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period")
            )
        except OSError:
            return None
    if not quota.strip().isdecimal():
        return None
    return math.ceil(int(quota) / int(period))
