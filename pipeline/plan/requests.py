"""What a job asks of whoever runs it: GPUs, cores, memory and time, from its stage's record."""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.artifacts.cores import shared_cores, thread_count
from pipeline.stages.kinds import KINDS
from pipeline.stages.record import StageRecord


class _Need(NamedTuple):
    gpus: int
    mem_mb: int
    minutes: int


_NEEDS = {
    "prior": _Need(0, 4000, 60),
    "prepare": _Need(0, 4000, 120),
    "split": _Need(0, 2000, 10),
    "rank": _Need(1, 12000, 240),
    "pseudolabel": _Need(1, 12000, 480),
    "suggest": _Need(1, 12000, 240),
    "select": _Need(1, 12000, 240),
    "evaluate": _Need(1, 12000, 240),
    "pretrain": _Need(1, 16000, 1440),
    "adapt": _Need(1, 24000, 1440),
    "selftrain": _Need(1, 24000, 1440),
}
"""By rule: what one process takes of data like the papers', and a limit that need not cover the whole stage."""


@dataclass(frozen=True)
class Request:
    """GPUs, cores, MB of memory, and minutes until the job is stopped with its state saved."""

    gpus: int
    cores: int
    mem_mb: int
    minutes: int


def request_of(record: StageRecord) -> Request:
    """What the job of a stage asks for; a training has as many times that as `run: gpus` says processes."""
    need = _NEEDS[record.rule]
    processes = record.run.gpus if KINDS[record.kind].gives == "model" else 1
    return Request(processes * need.gpus, processes * _cores(record), processes * need.mem_mb, need.minutes)


def _cores(record: StageRecord) -> int:
    """Cores of one process."""
    if record.kind == "split":
        return 1
    if record.kind == "prepare":  # it works in processes, whose number changes no bit
        return record.run.threads or shared_cores()
    return thread_count(record.run.threads, record.determinism == "exact")
