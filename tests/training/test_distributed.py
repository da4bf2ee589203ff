"""Two processes on the CPU: the same losses as one, shared stops, and what happens when one fails."""

import os
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from toys import toy_job, toy_loader, toy_parameters

from pipeline.artifacts.errors import DataError, Interrupted, SegadaptError, StateError, WorkerError
from pipeline.training import distributed
from pipeline.training.distributed import SINGLE, Processes, _Outcome, _raise_worst, run_processes
from pipeline.training.loop import Training
from pipeline.training.parameters import RunSettings

STEPS = 4
METHODS = ("supervised", "advent", "plca")


def train(
    processes: Processes, device: torch.device, folder: str, method: str, stop_after: int | None = None
) -> None:
    torch.set_num_threads(1)
    parameters = toy_parameters(method, batch=4, steps=STEPS, snapshots=2)
    toy = toy_job(
        Path(folder),
        parameters,
        batch_norm="frozen",
        dropout=0.0,
        # Only process 1 is asked to stop; all must.
        stop_after=stop_after if processes.rank == 1 else None,
        processes=processes,
        device=device,
        settings=RunSettings(state_minutes=1e6, state_steps=2, log_every=3),
    )
    domains = toy.job.learner.method.domains
    toy.job.loader = toy_loader(domains, processes.slots(parameters.batch))
    Training(toy.job).run()
    assert toy.snapshots.keys() == ({2, 4} if processes.is_main else set())


def train_both(processes: Processes, device: torch.device, folder: str) -> None:
    """Everything that can share the start of two processes."""
    for method in METHODS:
        train(processes, device, f"{folder}/{method}", method)
    tensors: list[Any] = [torch.full((2, 2), float(processes.rank + 1)), torch.tensor(10.0 * processes.rank)]
    processes.sum_(tensors)
    flags = processes.any_of([processes.rank == 1, False])
    Path(folder, f"shared-{processes.rank}").write_text(f"{tensors[0].tolist()} {tensors[1].item()} {flags}")


def fail(processes: Processes, device: torch.device, how: str) -> None:
    if processes.rank == 1:
        if how == "death":
            os._exit(9)
        raise SegadaptError("the image is bad")
    if how == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    processes.barrier()  # process 1 never comes


def wait_for_stop(processes: Processes, device: torch.device) -> None:
    while not all(processes.any_of([processes.asked_to_stop() is not None])):
        pass
    raise Interrupted("all stopped")


def numbers(folder: Path) -> list[list[float]]:
    return [
        [float(x) for x in line.split(",")] for line in (folder / "metrics.csv").read_text().splitlines()[1:]
    ]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left that trained with each method."""
    folder = tmp_path_factory.mktemp("together")
    run_processes(train_both, ["cpu", "cpu"], (str(folder),), stop=lambda: None)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_have_the_losses_of_one(tmp_path: Path, together: Path, method: str) -> None:
    train(SINGLE, torch.device("cpu"), str(tmp_path), method)
    one, two = numbers(tmp_path), numbers(together / method)
    assert len(one) == len(two) == STEPS
    for first, second in zip(one, two, strict=True):
        assert first == pytest.approx(second, abs=1e-6, rel=1e-6)


def test_sums_and_flags_are_shared(together: Path) -> None:
    texts = {path.read_text() for path in together.glob("shared-*")}
    assert texts == {"[[3.0, 3.0], [3.0, 3.0]] 10.0 [True, False]"}


@pytest.mark.slow
def test_a_stop_of_one_process_stops_all_and_they_resume(tmp_path: Path, together: Path) -> None:
    with pytest.raises(Interrupted):
        run_processes(train, ["cpu", "cpu"], (str(tmp_path), "supervised", 1), stop=lambda: None)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-00000001"]
    run_processes(train, ["cpu", "cpu"], (str(tmp_path), "supervised"), stop=lambda: None)
    assert (tmp_path / "metrics.csv").read_bytes() == (together / "supervised/metrics.csv").read_bytes()


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("error", SegadaptError, "the image is bad"),
        ("death", RuntimeError, "exit code 9"),
        ("hang", SegadaptError, "the image is bad"),
    ],
)
def test_a_failing_process_ends_all_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, how: str, kind: type[Exception], message: str
) -> None:
    if how == "hang":
        monkeypatch.setattr(distributed, "GRACE_SECONDS", 0.5)
    with pytest.raises(kind, match=message):
        run_processes(fail, ["cpu", "cpu"], (how,), stop=lambda: None)


def test_the_parents_stop_reaches_every_process() -> None:
    with pytest.raises(Interrupted, match="all stopped"):
        run_processes(wait_for_stop, ["cpu", "cpu"], (), stop=lambda: "SIGTERM")


@pytest.mark.parametrize(
    ("kinds", "raised", "message"),
    [
        (["broken", "failed", "died"], SegadaptError, "^failed$"),
        (["broken", "died", "hindered"], WorkerError, "^hindered$"),
        (["broken", "died"], RuntimeError, "died"),
        (["consequence", "broken"], RuntimeError, "broken"),
        (["interrupted", "finished"], Interrupted, "interrupted"),
    ],
)
def test_the_cause_is_raised_rather_than_its_consequences(
    kinds: list[str], raised: type[Exception], message: str
) -> None:
    with pytest.raises(raised, match=message):
        _raise_worst([_Outcome(kind, kind) for kind in kinds])
    _raise_worst([_Outcome("finished", "")] * 2)


def test_what_may_pass_by_itself_stays_apart_from_what_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, kind in ((StateError("of another stage"), "hindered"), (DataError("bad image"), "failed")):
        monkeypatch.setattr(distributed, "_train", Mock(side_effect=error))
        assert distributed._outcome(0, Mock()).kind == kind


def test_one_process_exchanges_nothing() -> None:
    tensor = torch.ones(2)
    SINGLE.sum_([tensor])
    SINGLE.barrier()
    assert tensor.tolist() == [1.0, 1.0]
    assert SINGLE.any_of([True, False]) == [True, False]
    assert SINGLE.asked_to_stop() is None
