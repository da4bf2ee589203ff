"""Several processes, one device each, training one network: rank r takes its slots of every step's batch.

The global batch does not depend on the number of processes; gradients are summed, not averaged, because every
term already divides by the counts of the whole step. Process 0 alone saves, logs and takes snapshots.

Their parent, the stage, starts and watches them with `torch.multiprocessing`. torchrun would not do: asked to
stop, it ends with code 1 instead of 75, and kills what has not saved within 30 s.
"""

import os
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import (
    ProcessExitedException,
    ProcessRaisedException,
    get_context,
    start_processes,
)

from pipeline.artifacts.errors import Interrupted, SegadaptError, WorkerError
from pipeline.artifacts.files import read_json, write_json

POLL_SECONDS = 0.5
GRACE_SECONDS = 15.0
"""Time for the other processes to end after one has failed, and again after they were told to, until they are killed."""
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
        """Return this process's slots of a step's batch, of which every process has as many."""
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


RAISED: dict[str, type[Exception]] = {
    "failed": SegadaptError,
    "hindered": WorkerError,
    "died": RuntimeError,
    "broken": RuntimeError,
    "consequence": RuntimeError,
    "interrupted": Interrupted,
}
"""What the parent raises for how a process ended, the most telling first; "finished" is no error."""


@dataclass(frozen=True)
class _Outcome:
    kind: str
    text: str


@dataclass(frozen=True)
class _Launch:
    """What every process of a training is started with; `folder` is where they meet and report."""

    entry: Entry
    arguments: tuple[Any, ...]
    devices: tuple[str, ...]
    folder: Path
    stop: Any

    def report(self, rank: int) -> Path:
        """Where process `rank` says how it ended."""
        return self.folder / f"process-{rank}.json"


def run_processes(
    entry: Entry, devices: Sequence[str], arguments: tuple[Any, ...], stop: Callable[[], str | None]
) -> None:
    """Run `entry(processes, device, *arguments)` in one new process per device, and wait for all.

    `entry` and `arguments` travel to new interpreters: a module-level function, and plain values such as the
    path of a stage file. `stop`: asked while waiting; when it gives a reason, every process stops after its
    step. Raises what the processes raised: Interrupted, SegadaptError, or RuntimeError with the traceback of
    an unexpected error or the exit code of a process that died.
    """
    with tempfile.TemporaryDirectory(prefix="segadapt-") as folder:
        event = get_context("spawn").Event()
        launch = _Launch(entry, arguments, tuple(devices), Path(folder), event)
        context = start_processes(_child, (launch,), len(devices), join=False)
        first: dict[int, _Outcome] = {}
        try:
            # After a failure the others get a grace time, then an end: a collective may never return.
            while not context.join(POLL_SECONDS, GRACE_SECONDS):
                if not event.is_set() and stop():
                    event.set()
        except (ProcessExitedException, ProcessRaisedException) as error:
            first[error.error_index] = _Outcome("died", f"a training process died: {error}")
        finally:
            for process in context.processes:
                process.kill()
        reports = {rank: launch.report(rank) for rank in range(len(devices))}
        reported = {rank: _Outcome(**read_json(path)) for rank, path in reports.items() if path.is_file()}
    _raise_worst(list((first | reported).values()))


def _child(rank: int, launch: _Launch) -> None:
    """Train in process `rank`, and report how it ended: an exit code cannot tell why."""
    outcome = _outcome(rank, launch)
    write_json(launch.report(rank), asdict(outcome))
    whole = outcome.kind in ("finished", "interrupted")
    if whole:
        dist.destroy_process_group()
    # All is said and closed; what torch does at a regular end may wait for a process that is no more.
    os._exit(0 if whole else 1)


def _outcome(rank: int, launch: _Launch) -> _Outcome:
    try:
        _train(rank, launch)
    except Interrupted as stopped:
        return _Outcome("interrupted", str(stopped))
    except PeerFailed as failed:
        return _Outcome("consequence", str(failed))
    except SegadaptError as error:
        return _Outcome("failed" if error.repeats else "hindered", str(error))
    except BaseException:
        return _Outcome("broken", f"a training process failed:\n{traceback.format_exc()}")
    return _Outcome("finished", "")


def _train(rank: int, launch: _Launch) -> None:
    """Join the group, and run the entry."""
    device, world = torch.device(launch.devices[rank]), len(launch.devices)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{launch.folder}/rendezvous",
        rank=rank,
        world_size=world,
        timeout=COLLECTIVE_TIMEOUT,
    )
    control = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)
    launch.entry(Processes(rank, world, control, launch.stop), device, *launch.arguments)


def _raise_worst(outcomes: Sequence[_Outcome]) -> None:
    """Raise the most telling outcome: a user's error, then a death, then an unexpected error, then a stop.

    When one process fails, the others break in their next exchange: their errors are only consequences.
    """
    for kind, error in RAISED.items():
        # Each text once: all processes find the same fault in the same file.
        texts = list(dict.fromkeys(outcome.text for outcome in outcomes if outcome.kind == kind))
        if texts:
            raise error(texts[0] if error is Interrupted else "\n".join(texts))
