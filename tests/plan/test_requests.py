"""What jobs ask for: a training as many GPUs as it has processes, and cores and memory for each of them."""

from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.plan.planner import Planner
from pipeline.plan.requests import Request, request_of
from pipeline.plan.stage import in_order


@pytest.fixture
def requests(tmp_path, monkeypatch):
    """What the demo's jobs ask for with these settings, by rule."""
    monkeypatch.chdir(tmp_path)

    def asked(run, **settings):
        (planned,) = Planner(load_config(overrides={"run": run, **settings})).plan()
        return {stage.rule: request_of(stage.record) for stage in in_order(planned.all_stages())}

    return asked


def test_one_process_asks_for_one_gpu_and_two_cores(requests):
    asked = requests({})
    assert asked["pretrain"] == Request(gpus=1, cores=2, mem_mb=16000, minutes=1440)
    assert asked["evaluate"] == Request(gpus=1, cores=2, mem_mb=12000, minutes=240)
    assert asked["split"] == Request(gpus=0, cores=1, mem_mb=2000, minutes=10)


def test_eight_processes_ask_for_eight_times_that_in_trainings_alone(requests):
    asked = requests({"gpus": 8, "threads": 4}, set={"train": {"batch": 16}})
    assert asked["adapt"] == Request(gpus=8, cores=32, mem_mb=192000, minutes=1440)
    assert asked["rank"] == Request(gpus=1, cores=4, mem_mb=12000, minutes=240)
    assert asked["prepare"] == Request(gpus=0, cores=4, mem_mb=4000, minutes=120)


def test_every_rule_of_the_workflow_has_its_request():
    from pipeline.plan.requests import _NEEDS

    rules = Path(__file__).parents[2] / "workflow/rules"
    text = "".join(path.read_text("utf-8") for path in rules.glob("*.smk"))
    assert all(f"results/{rule}/{{key}}/artifact.json" in text for rule in _NEEDS)
    assert text.count("/{key}/artifact.json") == len(_NEEDS)
