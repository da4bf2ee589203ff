"""Signals and deadlines: the stage ends with code 75, its state saved, and the next run gives the same bits."""

import multiprocessing
import os
import signal

import pytest
from world import digests

from pipeline.__main__ import main
from pipeline.data.loading import StepDataset
from pipeline.inference.passes import _ChunkRunner
from pipeline.training.state import StateStore
from pipeline.training.step import StepRunner

STOPPED = 75
STEPS = 8


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def before(monkeypatch, owner, method, call, action):
    """Do `action` before call number `call` (from 0) of a method, once."""
    original = getattr(owner, method)
    calls = iter(range(10**6))

    def wrapper(*args, **kwargs):
        if next(calls) == call:
            action()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, method, wrapper)


def assert_goes_on(world, finished_world, name):
    """Run the stage again, as the same command does, and compare with the run that was never stopped."""
    assert world.outcomes(name)[-1] == "interrupted"
    assert not (world.artifact(name).path / "artifact.json").exists()
    assert not (world.artifact(name).run / "failed.json").exists()
    assert world.run(name) == 0
    assert world.outcomes(name)[-1] == "finished"
    assert digests(world.results) == digests(finished_world.results)
    assert not world.artifact(name).state.exists()


def test_sigterm_in_a_step_is_heeded_after_it(world, finished_world, monkeypatch):
    world.forget("inter")
    before(monkeypatch, StepRunner, "run", 5, terminate)
    assert world.run("inter") == STOPPED
    assert world.states("inter")[-1] == "step-00000006"
    assert "received SIGTERM" in world.log("inter").read_text()
    assert_goes_on(world, finished_world, "inter")
    assert "resumed at step 6 of 8" in world.log("inter").read_text()


def test_sigterm_while_a_state_is_saved_leaves_that_state_whole(world, finished_world, monkeypatch):
    world.forget("source")
    original = StateStore._write

    def write(store, folder, step, *rest):
        if step == 3:
            terminate()
        original(store, folder, step, *rest)

    monkeypatch.setattr(StateStore, "_write", write)
    assert world.run("source") == STOPPED
    assert world.states("source")[-1] in ("step-00000003", "step-00000004")
    assert_goes_on(world, finished_world, "source")


def test_sigterm_to_the_group_while_the_loader_works(world, finished_world, monkeypatch):
    world.forget("source")
    world.settings("source", workers=1)
    parent = os.getpid()
    original = StepDataset.__getitem__

    def load(dataset, step):
        if step == 4 and multiprocessing.parent_process() is not None:
            os.kill(parent, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return original(dataset, step)

    monkeypatch.setattr(StepDataset, "__getitem__", load)
    assert world.run("source") == STOPPED
    assert world.states("source") != []
    assert multiprocessing.active_children() == []
    monkeypatch.undo()
    assert_goes_on(world, finished_world, "source")


def test_sigterm_in_a_pass_keeps_the_images_that_are_done(world, finished_world, monkeypatch):
    world.forget("ranking")
    before(monkeypatch, _ChunkRunner, "_compute", 9, terminate)
    assert world.run("ranking") == STOPPED
    monkeypatch.undo()
    computed = []
    original = _ChunkRunner._compute
    monkeypatch.setattr(
        _ChunkRunner,
        "_compute",
        lambda runner, batch: (computed.extend(batch.positions), original(runner, batch)),
    )
    assert_goes_on(world, finished_world, "ranking")
    assert computed == list(range(10, 24))


def test_a_budget_shorter_than_a_step_makes_a_step_each_time(world, finished_world, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    world.forget("source")
    command = ["run", str(world.stage_file("source")), "--log", str(world.log("source")), "--runtime", "1e-6"]
    for step in range(1, STEPS):
        assert main(command) == STOPPED
        assert world.states("source")[-1] == f"step-{step:08d}"
    assert "nearly used up" in world.log("source").read_text()
    assert main(command) == 0
    assert world.outcomes("source") == ["interrupted"] * (STEPS - 1) + ["finished"]
    assert digests(world.results) == digests(finished_world.results)


@pytest.mark.parametrize("name", ["ranking", "evaluate-intra", "labels"])
def test_a_budget_shorter_than_an_image_still_gets_to_the_end(world, finished_world, monkeypatch, name):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    world.forget(name)
    command = ["run", str(world.stage_file(name)), "--log", str(world.log(name)), "--runtime", "1e-6"]
    codes = [main(command)]
    while codes[-1] == STOPPED and len(codes) < 60:
        codes.append(main(command))
    assert codes[-1] == 0
    assert digests(world.results) == digests(finished_world.results)


def test_outside_a_scheduler_the_runtime_is_not_heeded(world, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    world.forget("split")
    assert main(["run", str(world.stage_file("split")), "--runtime", "1e-6"]) == 0
