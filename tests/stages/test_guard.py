"""The guard over a real chain: a network that collapsed to one class is not what `model/` holds."""

import pytest
from chain_world import Chain, write

from pipeline.artifacts.files import read_json
from pipeline.networks.records import read_record
from pipeline.report.guard import seems_worse

COLLAPSE = {"inter": {"objective": {"entropy_weight": 100.0}, "steps": 20, "optimiser": {"lr": 0.02}}}
"""So much weight on a sure answer that the network gives the same one everywhere."""


def guarded(chain, guard=True, source=None):
    stages = {
        "source": {"method": "supervised", **(source or {})},
        "inter": {"method": "minent", "init": "source"},
    }
    write(chain.folder / "config/recipes/guarded.yaml", {"title": "toy", "guard": guard, "stages": stages})


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory):
    chain = Chain.make(tmp_path_factory.mktemp("guard"))
    guarded(chain)
    run = chain.plan("guarded", {"source": {"steps": 20}, **COLLAPSE})
    chain.finish(*run.all_stages())
    return chain, run


def test_source_only_is_taken_where_the_adapted_network_collapsed(collapsed):
    chain, run = collapsed
    folder = chain.publish(run)
    metrics, model = read_json(folder / "metrics.json"), read_record(folder / "model/model.safetensors").meta
    taken = metrics["taken"]
    assert (taken["stage"], taken["criterion"]) == ("source", "uncertainty_coefficient")
    assert taken["values"]["inter"] < 0.05 < 0.1 < taken["values"]["source"]
    assert model["taken"] == taken and model["metrics"] == metrics["stages"]["source"]
    assert model["provenance"]["stage"] == run.stages["source"].key
    weights = [
        path.read_bytes()
        for path in sorted(chain.artifact(run.stages["source"]).path.glob("**/*.safetensors"))
    ]
    assert (folder / "model/model.safetensors").read_bytes() == weights[-1]
    assert metrics["final"] == "inter"


def test_the_log_and_the_summary_say_it_loudly(collapsed, capsys):
    chain, run = collapsed
    chain.publish(run)
    assert "ADAPTATION SEEMS TO HAVE MADE THINGS WORSE" in capsys.readouterr().err
    assert chain.report() == 0
    summary = (chain.results / "report/chain/summary.txt").read_text("utf-8")
    assert "main/seed0: ADAPTATION SEEMS TO HAVE MADE THINGS WORSE" in summary
    assert "guard: right in 1 of 1 choices" in summary


@pytest.mark.parametrize(
    ("adapted", "worse"), [(0.80, False), (0.77, False), (0.73, False), (0.71, True), (0.0, True)]
)
def test_only_a_clear_difference_counts_as_worse(adapted, worse):
    assert seems_worse(adapted, source_only=0.77) is worse


def test_no_label_of_the_evaluation_is_opened_to_choose(collapsed):
    chain, run = collapsed
    scored = run.evaluates["inter"].parents["data"].key
    for stage in run.selects.values():
        assert chain.opened[stage.key]
        assert not [path for path in chain.opened[stage.key] if "labels" in path or scored in path]


def test_without_the_word_the_last_stage_is_taken(collapsed):
    chain, _ = collapsed
    guarded(chain, guard=False)
    run = chain.plan("guarded", {"source": {"steps": 20}, **COLLAPSE})
    folder = chain.publish(run)
    assert read_json(folder / "metrics.json")["taken"] is None
    model = read_record(folder / "model/model.safetensors").meta
    assert model["provenance"]["stage"] == run.stages["inter"].key and "taken" not in model
