"""The loop: golden values, accumulation, non-finite numbers, stops, snapshots, logs."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from setups import SETUPS, finished
from torch import Tensor, nn
from toys import tensors_of, toy_job, toy_parameters

from pipeline.artifacts.errors import ConfigError, Interrupted, SegadaptError
from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.parameters import SupervisedParameters
from pipeline.training.finite import refuse_non_finite
from pipeline.training.loop import Training
from pipeline.training.metrics import MetricsTable
from pipeline.training.parameters import RunSettings

GOLDEN: dict[str, dict[str, float]] = {
    "supervised": {"segmentation": 1.3824},
    "adamw": {
        "segmentation": 1.3497,
        "segmentation_main": 1.2337,
        "segmentation_aux": 1.16,
        "entropy": 0.0011335,
        "entropy_main": 0.95027,
        "entropy_aux": 0.91611,
    },
    "advent": {
        "segmentation": 1.3826,
        "adversarial": 0.35804,
        "adversarial_main": 0.71608,
        "discriminator_main": 0.6934,
    },
    "teacher": {"follow": 0.0071275},
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values_after_six_steps(tmp_path: Path, name: str) -> None:
    """A change that is meant raises the version of the kind `train`."""
    job, _ = finished(tmp_path, SETUPS[name], dropout=0.0)
    assert job.metrics.latest() == pytest.approx(GOLDEN[name], rel=1e-3)


@pytest.mark.parametrize("method", ["supervised", "minent", "advent", "adaptseg"])
def test_accumulation_does_not_change_the_step(tmp_path: Path, method: str) -> None:
    rows = []
    for accumulation in (1, 2):
        parameters = toy_parameters(method, batch=4, accumulation=accumulation)
        finished(tmp_path / str(accumulation), {"parameters": parameters}, batch_norm="frozen", dropout=0.0)
        rows.append((tmp_path / str(accumulation) / "metrics.csv").read_text().splitlines()[1:])
    for one, two in zip(*rows, strict=True):
        assert [float(x) for x in one.split(",")] == pytest.approx(
            [float(x) for x in two.split(",")], rel=2e-5
        )


class Broken(Method[SupervisedParameters]):
    """One source term that goes wrong at step 3 in the way that `how` names."""

    def __init__(self, how: str) -> None:
        super().__init__(SupervisedParameters(method="supervised"))
        self.how = how

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        logits: Tensor = modules["network"](batch["source"].images).main
        value = (logits**2).mean()
        if context.step == 3 and self.how == "loss":
            value = value * float("nan")
        if context.step == 3 and self.how == "gradient":
            value = value + ((logits - logits.detach()).sum() * 0.0 + 0.0).sqrt()  # 0, with gradient NaN
        yield Term("square", value + (batch["source"].extras["depth"]).mean(), 1.0)

    def after_step(self, modules: Mapping[str, nn.Module], context: Context) -> None:
        if context.step == 3 and self.how == "weights":
            modules["network"].main.weight.data[0] = float("inf")


def broken_job(folder: Path, how: str, settings: RunSettings, **parameters: int) -> Any:
    values = {"snapshots": 6, **parameters}
    toy = toy_job(folder, toy_parameters(**values), method=Broken(how), settings=settings)
    load = toy.job.loader

    def with_depth(start: int, stop: int) -> Iterator[dict[str, Batch]]:
        for step, batch in enumerate(load(start, stop), start):
            depth = torch.zeros(2, 1)
            if step == 3 and how == "input":
                depth[1] = float("inf")
            batch["source"].extras["depth"] = depth
            yield batch  # type: ignore[misc]

    toy.job.loader = with_depth
    return toy


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("loss", "square"),
        ("gradient", "gradient of network"),
        ("input", "square"),
        ("weights", "main.weight"),
    ],
)
def test_a_number_that_is_not_finite_stops_before_anything_holds_it(
    tmp_path: Path, how: str, what: str
) -> None:
    toy = broken_job(tmp_path, how, RunSettings(state_steps=1, log_every=100))
    with pytest.raises(SegadaptError, match=what) as error:
        Training(toy.job).run()
    assert "step 4" in str(error.value)
    if how != "weights":
        assert "source-3-0, source-3-1" in str(error.value)
    state = toy.job.store.load_newest()
    assert state is not None and state.step == 3
    refuse_non_finite(state.tensors, 3)
    assert set(toy.snapshots) == {1, 2, 3}


def test_the_flag_is_read_one_step_late_when_nothing_is_saved(tmp_path: Path) -> None:
    settings = RunSettings(state_minutes=1e6, log_every=100)
    toy = broken_job(tmp_path, "loss", settings, snapshots=1, steps=10)
    seen, load = [], toy.job.loader

    def watched(start: int, stop: int) -> Iterator[Any]:
        for step, batch in enumerate(load(start, stop)):
            seen.append(step)
            yield batch

    toy.job.loader = watched
    with pytest.raises(SegadaptError, match="step 4"):
        Training(toy.job).run()
    assert seen[-1] == 4  # step 3 was wrong; one more was begun, none after
    assert not list(tmp_path.glob("state/*"))


def test_a_stop_before_the_first_step_still_makes_one(tmp_path: Path) -> None:
    toy = toy_job(tmp_path, toy_parameters(), stop_after=0)
    with pytest.raises(Interrupted):
        Training(toy.job).run()
    state = toy.job.store.load_newest()
    assert state is not None and state.step == 1


def test_a_stop_in_the_last_step_finishes(tmp_path: Path) -> None:
    toy = toy_job(tmp_path, toy_parameters(), stop_after=6)
    Training(toy.job).run()
    state = toy.job.store.load_newest()
    assert state is not None and state.step == 6


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"state_steps": 2, "state_minutes": 1e6}, [2, 4, 6]),
        ({"state_minutes": 0.5}, [3, 6]),
        ({"state_minutes": 1e6}, [6]),
    ],
)
def test_states_are_saved_when_due(tmp_path: Path, settings: dict[str, Any], expected: list[int]) -> None:
    now = 0.0
    toy = toy_job(tmp_path, toy_parameters(), settings=RunSettings(**settings), clock=lambda: now)
    load = toy.job.loader

    def twelve_seconds_each(start: int, stop: int) -> Iterator[Any]:
        nonlocal now
        for batch in load(start, stop):
            now += 12.0
            yield batch

    toy.job.loader = twelve_seconds_each
    saved: list[int] = []
    save = toy.job.store.save

    def note(step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        saved.append(step)
        save(step, tensors, meta)

    toy.job.store.save = note  # type: ignore[method-assign]
    Training(toy.job).run()
    assert saved == expected


def test_log_lines_name_terms_classes_and_eta(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    toy = toy_job(tmp_path, toy_parameters("minent"))
    with caplog.at_level(logging.INFO, "toy"):
        Training(toy.job).run()
    lines = [record.getMessage() for record in caplog.records if getattr(record, "file_only", False)]
    assert [line.split()[1] for line in lines] == ["2/6", "4/6", "6/6"]
    for word in ("lr 0.0424", "segmentation ", "entropy ", "target ", "data wait", "ETA"):
        assert word in lines[0]


@pytest.mark.parametrize(("bias", "warned"), [(50.0, True), (0.0, False)])
def test_a_collapse_to_one_class_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bias: float, warned: bool
) -> None:
    toy = toy_job(tmp_path, toy_parameters("minent", optimiser={"lr": 1e-9}))
    toy.job.learner.network.main.bias.data[2] += bias
    Training(toy.job).run()
    assert any("predicted as car" in record.getMessage() for record in caplog.records) is warned


def test_bfloat16_keeps_weights_and_losses_in_float32(tmp_path: Path) -> None:
    rows = []
    for precision in ("tf32", "float32", "bfloat16"):
        parameters = toy_parameters("advent", precision=precision, steps=1, snapshots=1)
        job, _ = finished(tmp_path / precision, {"parameters": parameters})
        assert {t.dtype for t in tensors_of(job).values()} == {torch.float32, torch.int64}
        rows.append(
            [float(x) for x in (tmp_path / precision / "metrics.csv").read_text().splitlines()[1].split(",")]
        )
    assert rows[0] == rows[1]  # no CPU has TF32
    assert rows[1] == pytest.approx(rows[2], rel=0.02)
    assert rows[1] != rows[2]


def test_the_callers_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    toy = toy_job(tmp_path, **SETUPS["supervised"])  # making layers draws numbers
    torch.manual_seed(3)
    Training(toy.job).run()
    assert torch.equal(torch.rand(4), expected)


def test_a_method_without_images_is_an_error(tmp_path: Path) -> None:
    toy = toy_job(tmp_path, toy_parameters(), loader=lambda start, stop: iter([{}]))
    with pytest.raises(SegadaptError, match="none of its domains"):
        Training(toy.job).run()


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    from pipeline.training.distributed import Processes

    assert [list(Processes(rank, 2).slots(4)) for rank in (0, 1)] == [[0, 1], [2, 3]]
    toy = toy_job(tmp_path, toy_parameters(batch=2, accumulation=2), processes=Processes(0, 2))
    with pytest.raises(ConfigError, match="2 processes"):
        Training(toy.job).run()


def test_numbers_are_read_at_log_lines_snapshots_and_states_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    flush = MetricsTable.flush

    def note(table: MetricsTable, processes: Any) -> None:
        read.append(table._pending[-1][0])
        flush(table, processes)

    monkeypatch.setattr(MetricsTable, "flush", note)
    parameters = toy_parameters(steps=12, snapshots=2)
    settings = RunSettings(log_every=5, state_steps=8, state_minutes=1e6)
    Training(toy_job(tmp_path, parameters, settings=settings).job).run()
    assert read == [5, 6, 8, 10, 12]
