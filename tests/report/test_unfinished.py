"""What stands between runs and their figures: each stage once, with the runs that wait for it."""

from argparse import Namespace

import pytest

from pipeline.artifacts.files import write_json
from pipeline.report.unfinished import unfinished_stages
from pipeline.stages.record import ArtifactRef
from pipeline.stages.results import Results


def ref(rule, key):
    return ArtifactRef.model_construct(kind=rule, rule=rule, key=key)


DATA, TRAINED, OTHER = ref("prepare", "data"), ref("train", "trained"), ref("train", "other")
PARENTS = {"data": {}, "trained": {"source": DATA}, "other": {"source": DATA}}
RUNS = [
    Namespace(experiment=name, seed=seed, artifacts=lambda stage=stage: [stage])
    for name, seed, stage in (("a", 0, TRAINED), ("a", 1, TRAINED), ("b", 0, OTHER))
]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(Results, "record", lambda self, key: Namespace(parents=PARENTS[key]))
    return Results(tmp_path / "results")


def finish(results, *stages):
    for stage in stages:
        results.manifest(stage).parent.mkdir(parents=True)
        results.manifest(stage).touch()


def test_a_stage_that_runs_share_is_told_once_with_all_of_them(results):
    write_json(results.folder(DATA).run / "failed.json", {"message": "2 bad files"})
    (stopped,) = unfinished_stages(results, RUNS)
    assert (stopped.stage, stopped.reason) == ("data", "2 bad files")
    assert stopped.runs == (("a", 0), ("a", 1), ("b", 0)) and stopped.waiting == "a/seed0, a/seed1, b/seed0"


def test_runs_that_have_finished_wait_for_nothing(results):
    finish(results, DATA, TRAINED)
    (stopped,) = unfinished_stages(results, RUNS)
    assert (stopped.stage, stopped.runs, stopped.reason) == ("other", (("b", 0),), "not started")
    finish(results, OTHER)
    assert unfinished_stages(results, RUNS) == ()
