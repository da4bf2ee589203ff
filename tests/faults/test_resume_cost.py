"""Going on at step 100,000 costs what it costs at step 10: the work is counted, not timed."""

import logging
from collections import Counter

import pytest
from world import World

from pipeline.artifacts.errors import Interrupted
from pipeline.data import sampler
from pipeline.data.loading import StepDataset
from pipeline.numerics.randomness import Draws
from pipeline.stages import train
from pipeline.stages.base import Job, StageFile
from pipeline.training.parameters import TrainParameters
from pipeline.training.state import StateStore
from pipeline.training.step import StepRunner


@pytest.fixture
def work(monkeypatch):
    """Counts batches made, images sampled, orders drawn, random keys set up and steps computed."""
    counts = Counter()

    def counted(owner, method):
        original = getattr(owner, method)

        def wrapper(*args, **kwargs):
            counts[f"{owner.__name__}.{method}"] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, method, wrapper)

    for owner, method in (
        (StepDataset, "__getitem__"),
        (StepDataset, "_sample"),
        (Draws, "__init__"),
        (Draws, "uniform"),
        (sampler, "permutation"),
        (StepRunner, "run"),
    ):
        counted(owner, method)
    return counts


def long_stage(world: World) -> Job[TrainParameters]:
    """The stage `source` as if it had 200,000 steps."""
    file = StageFile.read(world.stage_file("source"))
    parameters = file.record.parameters.model_copy(update={"steps": 200_000})
    record = file.record.model_copy(update={"parameters": parameters})
    settings = record.run.model_copy(update={"state_steps": None})
    return Job(StageFile(file.path, record), settings, logging.getLogger("t"), lambda: "enough")


def resumed_at(world, monkeypatch, step, work):
    """Let the stage make its first step, call the state that of `step`, go on for one step; the work of that."""
    world.forget("source")
    with pytest.raises(Interrupted):
        train.compute(long_stage(world))
    original = StateStore.load_newest

    def load(store):
        state = original(store)
        store.save(step, state.tensors, state.meta)
        return original(store)

    sampler._order.cache_clear()  # a job that goes on is a process of its own
    work.clear()
    with monkeypatch.context() as patches:
        patches.setattr(StateStore, "load_newest", load)
        with pytest.raises(Interrupted):
            train.compute(long_stage(world))
    assert world.states("source")[-1] == f"step-{step + 1:08d}"
    return Counter(work)


def test_no_data_is_replayed(world, monkeypatch, work):
    early = resumed_at(world, monkeypatch, 10, work)
    late = resumed_at(world, monkeypatch, 100_000, work)
    assert early["StepRunner.run"] == 1 and early["StepDataset.__getitem__"] == 1
    assert early["StepDataset._sample"] == 2, "a batch of two source images"
    assert early["pipeline.data.sampler.permutation"] >= 1, "an order is drawn, and counted"
    # Which changes an image gets is drawn too, and how many further numbers they take: some, at any step.
    drawn = [work.pop("Draws.uniform") for work in (early, late)]
    assert max(drawn) < 40
    assert late == early
