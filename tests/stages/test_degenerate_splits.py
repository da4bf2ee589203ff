"""lambda 0 and lambda 1: one part of the target is empty, and every stage says what that means."""

import csv

import pytest
import torch

from pipeline.artifacts.files import read_json
from pipeline.networks.files import load_network
from pipeline.stages.inputs import pseudo_labels_of
from pipeline.stages.snapshots import snapshot_path, snapshot_steps


def cut(chain, share):
    """Run the chain with this lambda; what comes before the split is shared and finished."""
    run = chain.plan(set_={"split": {"lambda": share}})
    assert (chain.artifact(run.stages["ranking"]).path / "artifact.json").is_file()
    chain.finish(*run.all_stages())
    return run


@pytest.fixture(scope="module")
def nothing_easy(shared):
    return cut(shared, 0.0)


@pytest.fixture(scope="module")
def nothing_hard(shared):
    return cut(shared, 1.0)


def parts(chain, run):
    with (chain.artifact(run.stages["split"]).path / "split.csv").open() as file:
        return [row["split"] for row in csv.DictReader(file)]


def state(chain, stage):
    folder = chain.artifact(stage)
    network, meta = load_network(snapshot_path(folder, snapshot_steps(folder)[-1]))
    return network.state_dict(), meta


def test_lambda_0_makes_no_pseudo_label(shared, nothing_easy):
    assert parts(shared, nothing_easy) == ["hard"] * 6
    labels = nothing_easy.stages["labels"]
    assert len(pseudo_labels_of(shared.artifact(labels))) == 0
    assert shared.artifact(labels).load()["summary"]["labelled_share"] is None


def test_lambda_0_gives_the_inter_model_unchanged_and_says_so(shared, nothing_easy):
    inter, intra = nothing_easy.stages["inter"], nothing_easy.stages["intra"]
    before, _ = state(shared, inter)
    after, meta = state(shared, intra)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert meta["copied_from"] == inter.key
    assert "the easy part is empty" in shared.log(intra)


def test_lambda_0_has_figures_equal_to_inters(shared, nothing_easy):
    inter, intra = (
        read_json(shared.artifact(nothing_easy.evaluates[name]).path / "metrics.json")["last"]
        for name in ("inter", "intra")
    )
    assert inter["iou"] == intra["iou"]


def test_lambda_1_trains_on_pseudo_labels_alone(shared, nothing_hard):
    assert parts(shared, nothing_hard) == ["easy"] * 6
    intra = nothing_hard.stages["intra"]
    assert len(pseudo_labels_of(shared.artifact(nothing_hard.stages["labels"]))) == 6
    assert "domain target is empty: its terms drop out" in shared.log(intra)
    with (shared.artifact(intra).path / "metrics.csv").open() as file:
        columns = next(csv.reader(file))
    assert "segmentation" in columns and "adversarial" not in columns
    before, _ = state(shared, nothing_hard.stages["inter"])
    after, meta = state(shared, intra)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert "copied_from" not in meta


@pytest.mark.parametrize("share", ["nothing_easy", "nothing_hard"])
def test_the_folder_for_people_and_the_report_are_made(shared, request, share):
    run = request.getfixturevalue(share)
    shared.plan(set_={"split": {"lambda": 0.0 if share == "nothing_easy" else 1.0}})
    folder = shared.publish(run)
    assert (folder / "model" / "model.safetensors").is_file()
    assert shared.report() == 0
    assert (shared.results / "report" / "chain" / "index.html").is_file()


def test_the_split_is_by_rank_and_floor(shared):
    run = shared.plan(set_={"split": {"lambda": 0.67}})
    shared.finish(run.stages["split"])
    assert parts(shared, run) == ["easy"] * 4 + ["hard"] * 2  # int(6 * 0.67)
    with (shared.artifact(run.stages["split"]).path / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    entropies = [float(row["entropy"]) for row in rows]
    assert entropies == sorted(entropies)
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 5, 6]
