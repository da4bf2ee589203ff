"""Rounds of self-training: numbered stages, `previous`, and more rounds later."""

import pytest
from shop import changed

ROUNDS = {
    "title": "toy",
    "stages": {"source": {"method": "supervised"}},
    "rounds": {
        "count": 2,
        "start": "source",
        "stages": {
            "labels": {"kind": "pseudolabel", "labelling": "thresholds", "model": "previous"},
            "round": {"method": "self_training", "init": "previous", "target": "labels"},
        },
    },
}


@pytest.fixture
def rounds(shop):
    shop.write("recipes", "toy", ROUNDS)
    shop.experiment("main", "toy")
    return shop


def parents(run, name):
    named = {stage.key: other for other, stage in run.stages.items()}
    return {role: named.get(stage.key, stage.kind) for role, stage in run.stages[name].parents.items()}


def test_rounds_are_numbered_from_one_and_linked_by_previous(rounds):
    run = rounds.run()
    assert list(run.stages) == ["source", "labels1", "round1", "labels2", "round2"]
    assert parents(run, "labels1")["model"] == "source"
    assert parents(run, "round1")["init"] == "source"
    assert parents(run, "round1")["target_labels"] == "labels1"
    assert parents(run, "labels2")["model"] == "round1"
    assert parents(run, "round2") == {
        "init": "round1",
        "source": "prepare",
        "target": "prepare",
        "target_labels": "labels2",
    }
    assert run.final == "round2"


def test_each_round_is_told_its_number_counted_from_zero(rounds):
    stages = rounds.run().stages
    assert [stages[f"labels{n}"].parameters.round for n in (1, 2)] == [0, 1]
    assert [stages[f"round{n}"].parameters.objective.round for n in (1, 2)] == [0, 1]


def test_more_rounds_keep_the_finished_ones(rounds):
    rounds.experiment("main", "toy", rounds=3)
    three = rounds.run()
    rounds.experiment("main", "toy", rounds=5)
    five = rounds.run()
    new = {"labels4", "round4", "labels5", "round5"}
    assert changed(three, five) == {
        *new,
        *(f"{what}:round{n}" for what in ("select", "evaluate") for n in (4, 5)),
    }
    assert five.final == "round5"


def test_the_experiments_rounds_win_over_the_recipes(rounds):
    rounds.experiment("main", "toy", rounds=0)
    assert list(rounds.run().stages) == ["source"]
    rounds.experiment("main", "toy", rounds=1)
    assert list(rounds.run().stages) == ["source", "labels1", "round1"]


def test_set_reaches_all_rounds_by_block_and_one_by_number(rounds):
    values = {"labels": {"portion": 0.3}, "labels2": {"portion": 0.4}, "round": {"steps": 7}}
    rounds.experiment("main", "toy", set=values)
    stages = rounds.run().stages
    assert [stages[f"labels{n}"].parameters.portion for n in (1, 2)] == [0.3, 0.4]
    assert [stages[f"round{n}"].parameters.steps for n in (1, 2)] == [7, 7]
    assert stages["source"].parameters.steps == 10


def test_previous_is_the_last_training_stage_of_the_round_before(rounds):
    rounds.edit("recipes", "toy", rounds={"stages": {"polish": {"method": "minent", "init": "round"}}})
    run = rounds.run()
    assert parents(run, "polish1")["init"] == "round1"
    assert parents(run, "labels2")["model"] == "polish1"
    assert parents(run, "round2")["init"] == "polish1"


def test_rounds_of_a_recipe_without_rounds_are_refused(rounds):
    rounds.experiment("main", "advent", rounds=2)
    assert "shop.yaml: experiments.main.rounds: recipe advent has no rounds" in rounds.fails()


def test_an_unknown_start_names_the_nearest(rounds):
    rounds.edit("recipes", "toy", rounds={"start": "sorce"})
    assert "found 'sorce', which is no earlier stage; did you mean `source`?" in rounds.fails()


def test_previous_outside_of_rounds_is_no_stage(rounds):
    rounds.edit("recipes", "toy", stages={"second": {"method": "minent", "init": "previous"}})
    assert "stages.second.init: found 'previous', which is no earlier stage" in rounds.fails()


def test_numbered_names_that_meet_are_refused(rounds):
    rounds.edit("recipes", "toy", stages={"round2": {"method": "minent", "init": "source"}})
    assert "two stages are called 'round2'" in rounds.fails()


def test_hard_and_soft_labels_may_not_be_mixed(rounds):
    rounds.experiment("main", "toy", set={"round": {"objective": {"regulariser": "lrent"}}})
    assert "`regulariser: lrent` and `soft_alpha`" in rounds.fails()
