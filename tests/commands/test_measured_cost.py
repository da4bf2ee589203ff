"""`plan --cost --measure`: each kind of training is measured once and counted by its steps; without it none is."""

from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.commands import cost, measured_cost
from pipeline.commands.configuration import parse_assignments
from pipeline.commands.measured_cost import Pace, measured_lines
from pipeline.config.load import load_config
from pipeline.plan.planner import Planner
from pipeline.stages import measuring
from pipeline.stages.measuring import Measured
from pipeline.stages.results import Results

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture
def clone(monkeypatch, tmp_path):
    (tmp_path / "config").symlink_to(CONFIG)
    monkeypatch.chdir(tmp_path)


def refuse(*_):
    raise AssertionError("a training is measured")


def runs(*words):
    return Planner(load_config(["config/demo.yaml"], parse_assignments(list(words)))).plan()


def test_without_the_option_nothing_is_trained(clone, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "measure_training", refuse)
    monkeypatch.setattr(cost, "cost_table", lambda runs, hint: " ".join(["the estimate", *hint]))
    assert main(["plan", "--cost", "--configfile", "config/demo.yaml"]) == 0
    said = capsys.readouterr().out
    assert "s a step" not in said and "add --measure" in said
    with pytest.raises(AssertionError, match="is measured"):
        main(["plan", "--cost", "--measure", "--configfile", "config/demo.yaml"])
    assert "add --measure" not in capsys.readouterr().out


def test_it_belongs_to_cost(clone, capsys):
    assert main(["plan", "--measure"]) == 2
    assert "needs --cost" in capsys.readouterr().err


def test_a_kind_is_measured_once_and_every_training_counted(clone, monkeypatch):
    """Three trainings with two learning rates: 300 steps of 0.5 s, 200 of 2 s, and 200 that cannot be measured."""
    paces = [
        Pace(None, "too little memory?"),
        Pace(Measured(2.0, 2**31, False)),
        Pace(Measured(0.5, 2**30, True)),
    ]
    monkeypatch.setattr(measured_cost, "pace_of", lambda stage: paces.pop(0))
    asked, _, *rows, whole, _ = measured_lines([*runs(), *runs("set.train.optimiser.lr=0.5")])
    assert asked.startswith("measuring 3 kinds") and not paces
    assert [row.split() for row in rows[:3]] == [
        ["demo:source", "300", "0.50", "1.00", "2.5", "min", "prepared"],
        ["demo:inter", "200", "2.00", "2.00", "6.7", "min", "noise"],
        ["demo:intra", "200", "-", "-", "-", "-", "(too", "little", "memory?)"],
    ]
    assert len(rows) == 6
    assert whole == "4 trainings one after another: 18.3 min, 2 not measured; 0 trainings have finished."


def test_finished_trainings_are_left_out(clone, monkeypatch):
    planned = runs()
    for stage in planned[0].trained.values():
        manifest = Results().manifest(stage.record)
        manifest.parent.mkdir(parents=True)
        manifest.touch()
    monkeypatch.setattr(measured_cost, "pace_of", refuse)
    assert list(measured_lines(planned)) == ["3 trainings have finished; none is left to measure"]


def test_steps_and_optimiser_make_no_other_kind_but_sizes_do(clone):
    source = runs()[0].trained["source"]
    for words, same in (
        (["set.train.steps=7"], True),
        (["set.train.optimiser.lr=0.5"], True),
        (["set.train.batch=2"], False),
        (["set.train.augmentation.source.crop=[64,64]"], False),
    ):
        other = runs(*words)[0].trained["source"]
        assert (measured_cost.kind_of(other) == measured_cost.kind_of(source)) is same, words
