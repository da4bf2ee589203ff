"""A resumed training equals an uninterrupted one bit for bit; with any part of its state left out it does not."""

from pathlib import Path
from typing import Any

import pytest
from setups import SETUPS, finished
from toys import differing, tensors_of, toy_job, toy_store

from pipeline.artifacts.errors import Interrupted
from pipeline.training import checkpoint
from pipeline.training.loop import Training, TrainingJob
from pipeline.training.step import StepRunner


def resumed(folder: Path, setup: dict[str, Any], after: int) -> tuple[TrainingJob, dict[int, Any]]:
    first = toy_job(folder, **setup, stop_after=after)
    with pytest.raises(Interrupted, match="told to"):
        Training(first.job).run()
    job, snapshots = finished(folder, setup)
    return job, first.snapshots | snapshots


@pytest.mark.parametrize("name", SETUPS)
@pytest.mark.parametrize("after", [1, 3])
def test_interrupted_training_equals_an_uninterrupted_one(tmp_path: Path, name: str, after: int) -> None:
    whole, kept = finished(tmp_path / "whole", SETUPS[name])
    again, kept_again = resumed(tmp_path / "resumed", SETUPS[name], after)
    assert differing(tensors_of(whole), tensors_of(again)) == []
    assert (tmp_path / "whole/metrics.csv").read_bytes() == (tmp_path / "resumed/metrics.csv").read_bytes()
    assert kept.keys() == kept_again.keys() == {2, 4, 6}
    assert all(not differing(kept[step], kept_again[step]) for step in kept)
    assert differing(tensors_of(whole), tensors_of(toy_job(tmp_path, **SETUPS[name]).job))  # it did train


@pytest.mark.parametrize(
    ("part", "setup"),
    [
        ("network", "advent"),
        ("modules", "advent"),
        ("modules", "teacher"),
        ("modules", "mean_teacher"),
        ("optimisers", "supervised"),
        ("optimisers", "adamw"),
        ("optimisers", "advent"),
    ],
)
def test_leaving_a_part_out_of_the_state_breaks_the_equality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, setup: str
) -> None:
    whole, _ = finished(tmp_path / "whole", SETUPS[setup])
    monkeypatch.delitem(checkpoint.SECTIONS, part)
    again, _ = resumed(tmp_path / "resumed", SETUPS[setup], 3)
    assert differing(tensors_of(whole), tensors_of(again))


def test_leaving_the_metrics_out_of_the_state_loses_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path / "whole", SETUPS["supervised"])
    monkeypatch.delitem(checkpoint.SECTIONS, "metrics")
    resumed(tmp_path / "resumed", SETUPS["supervised"], 3)
    assert (tmp_path / "whole/metrics.csv").read_bytes() != (tmp_path / "resumed/metrics.csv").read_bytes()


def test_without_seeding_by_step_dropout_differs_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepRunner, "_seed", lambda self, step, part: None)
    whole, _ = finished(tmp_path / "whole", SETUPS["supervised"])
    again, _ = resumed(tmp_path / "resumed", SETUPS["supervised"], 3)
    assert differing(tensors_of(whole), tensors_of(again))


def test_a_wrong_step_in_the_state_breaks_the_equality(tmp_path: Path) -> None:
    whole, _ = finished(tmp_path / "whole", SETUPS["supervised"])
    toy = toy_job(tmp_path / "resumed", **SETUPS["supervised"], stop_after=3)
    with pytest.raises(Interrupted):
        Training(toy.job).run()
    state = toy.job.store.load_newest()
    assert state is not None and state.step == 3
    toy_store(tmp_path / "moved").save(4, state.tensors, state.meta)
    again, _ = finished(tmp_path / "resumed", SETUPS["supervised"], store=toy_store(tmp_path / "moved"))
    assert differing(tensors_of(whole), tensors_of(again))


def test_two_runs_are_equal_and_the_seed_matters(tmp_path: Path) -> None:
    first, _ = finished(tmp_path / "a", SETUPS["supervised"])
    second, _ = finished(tmp_path / "b", SETUPS["supervised"])
    other, _ = finished(tmp_path / "c", SETUPS["supervised"], seed=8)
    assert differing(tensors_of(first), tensors_of(second)) == []
    assert differing(tensors_of(first), tensors_of(other))


def test_a_resumed_training_asks_the_loader_for_the_remaining_steps_only(tmp_path: Path) -> None:
    toy = toy_job(tmp_path, **SETUPS["supervised"], stop_after=4)
    with pytest.raises(Interrupted):
        Training(toy.job).run()
    again = toy_job(tmp_path, **SETUPS["supervised"])
    asked, load = [], again.job.loader
    again.job.loader = lambda start, stop: asked.append((start, stop)) or load(start, stop)  # type: ignore[func-returns-value]
    Training(again.job).run()
    assert asked == [(4, 6)]
    assert set(again.snapshots) == {6}  # 4 was taken before the stop
    Training(toy_job(tmp_path, **SETUPS["supervised"], loader=None).job).run()  # finished: nothing is loaded
