"""Several processes, one device each, training one network: rank r takes its slots of every step's batch.

The global batch does not depend on the number of processes; gradients are summed, not averaged, because every
term already divides by the counts of the whole step. Process 0 alone saves, logs and takes snapshots.
"""

import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.artifacts.errors import ConfigError, Interrupted, SegadaptError

POLL_SECONDS = 0.5
GRACE_SECONDS = 30.0
"""Time for the other processes to report after one has failed, before they are killed."""
LEAVE_SECONDS = 5.0
COLLECTIVE_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Processes:
    """This process among those of a training; with `world` 1 every method is a no-op."""

    rank: int = 0
    world: int = 1
    control: Any = None
    """A gloo group for decisions, so that they never wait for a GPU."""
    stop_event: Any = None
    """Set by the parent process when it was asked to stop."""

    @property
    def is_main(self) -> bool:
        """Whether this process saves and logs."""
        return self.rank == 0

    def slots(self, batch: int) -> range:
        """Return this process's slots of a step's batch; ConfigError when it cannot be cut evenly."""
        if batch % self.world:
            raise ConfigError(
                f"gpus: a batch of {batch} images cannot be cut evenly over {self.world} processes; "
                "choose `run: gpus` so that it divides `batch`"
            )
        own = batch // self.world
        return range(self.rank * own, (self.rank + 1) * own)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype and device by their sums over processes, in one exchange."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Tell for each flag whether any process raised it."""
        if self.world == 1:
            return list(flags)
        numbers = torch.tensor([int(flag) for flag in flags])
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.control)
        return [bool(number) for number in numbers.tolist()]

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier(group=self.control)

    def asked_to_stop(self) -> str | None:
        """Tell why the parent process wants all to stop."""
        return (
            "the main process was asked to stop"
            if self.stop_event is not None and self.stop_event.is_set()
            else None
        )


SINGLE = Processes()


class PeerFailed(Exception):  # noqa: N818 - a consequence, not a mistake
    """Another process has failed and reports why; this one only leaves."""


Entry = Callable[..., None]
"""A module-level function `(processes, device, *arguments)` that trains in one process."""


@dataclass(frozen=True)
class _Outcome:
    kind: str
    text: str


def _child(
    entry: Entry,
    rank: int,
    devices: Sequence[str],
    store: str,
    stop: Any,
    report: Connection,
    arguments: tuple[Any, ...],
) -> None:
    """Join the group, run `entry`, and report how it ended."""
    try:
        device = torch.device(devices[rank])
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=len(devices),
            timeout=COLLECTIVE_TIMEOUT,
        )
        control = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)
        entry(Processes(rank, len(devices), control, stop), device, *arguments)
        outcome = _Outcome("finished", "")
    except Interrupted as stopped:
        outcome = _Outcome("interrupted", str(stopped))
    except PeerFailed as failed:
        outcome = _Outcome("consequence", str(failed))
    except SegadaptError as error:
        outcome = _Outcome("failed", str(error))
    except BaseException:
        outcome = _Outcome("broken", traceback.format_exc())
    report.send((outcome.kind, outcome.text))
    report.close()
    if outcome.kind in ("finished", "interrupted"):
        dist.destroy_process_group()


def run_processes(
    entry: Entry, devices: Sequence[str], arguments: tuple[Any, ...], stop: Callable[[], str | None]
) -> None:
    """Run `entry(processes, device, *arguments)` in one new process per device, and wait for all.

    `entry` and `arguments` travel to new interpreters: a module-level function, and plain values such as the
    path of a stage file. `stop`: asked while waiting; when it gives a reason, every process stops after its
    step. Raises what the processes raised: Interrupted, SegadaptError, or RuntimeError with the traceback of
    an unexpected error or the exit code of a process that died.
    """
    context = multiprocessing.get_context("spawn")
    event = context.Event()
    with tempfile.TemporaryDirectory(prefix="segadapt-") as folder:
        children: dict[SpawnProcess, Connection] = {}
        try:
            for rank in range(len(devices)):
                receive, send = context.Pipe(duplex=False)
                store = str(Path(folder) / "rendezvous")
                child = context.Process(
                    target=_child, args=(entry, rank, tuple(devices), store, event, send, arguments)
                )
                child.start()
                send.close()
                children[child] = receive
            outcomes = _wait(children, stop, event)
        finally:
            _end(children)
    _raise_worst(outcomes)


def _wait(
    children: Mapping[SpawnProcess, Connection], stop: Callable[[], str | None], event: Any
) -> list[_Outcome]:
    """Collect how each process ended; after a failure the others get a grace time, since they may hang."""
    open_reports = {report: child for child, report in children.items()}
    outcomes: list[_Outcome] = []
    deadline: float | None = None
    while open_reports and (deadline is None or time.monotonic() < deadline):
        if not event.is_set() and stop():
            event.set()
        for ready in wait(list(open_reports), timeout=POLL_SECONDS):
            assert isinstance(ready, Connection)
            child = open_reports.pop(ready)
            outcomes.append(_received(child, ready))
            if outcomes[-1].kind in ("failed", "broken", "died") and deadline is None:
                deadline = time.monotonic() + GRACE_SECONDS
    return outcomes


def _received(child: SpawnProcess, report: Connection) -> _Outcome:
    try:
        kind, text = report.recv()
    except EOFError:
        child.join()
        return _Outcome("died", f"{child.name} ended with exit code {child.exitcode} and no report")
    return _Outcome(kind, text)


def _end(children: Iterable[SpawnProcess]) -> None:
    """Let processes that have reported leave; kill those that have not (a collective never returns)."""
    for child in children:
        child.join(LEAVE_SECONDS)
        if child.is_alive():
            child.kill()
            child.join()


def _raise_worst(outcomes: Sequence[_Outcome]) -> None:
    """Raise the most telling outcome: a user's error, then a death, then an unexpected error, then a stop.

    When one process fails, the others break in their next exchange: their errors are only consequences.
    """
    for kind in ("failed", "died", "broken", "consequence", "interrupted"):
        texts = list(dict.fromkeys(outcome.text for outcome in outcomes if outcome.kind == kind))
        if texts and kind == "failed":
            raise SegadaptError("\n".join(texts))
        if texts and kind == "interrupted":
            raise Interrupted(texts[0])
        if texts:
            raise RuntimeError("a training process failed:\n" + "\n".join(texts))
