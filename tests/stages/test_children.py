"""What a stage takes from its parents: the chosen snapshot, the kept order, the folder for people, the report."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline import load_model
from pipeline.artifacts.files import digest_of, read_json
from pipeline.data.parameters import Augmentation
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.networks.files import load_network
from pipeline.stages.base import Job, StageFile
from pipeline.stages.inputs import cache_of, pseudo_labels_of
from pipeline.stages.snapshots import snapshot_path
from pipeline.stages.train import build_start, trained_size
from pipeline.training.parameters import RunSettings


def start(chain, stage):
    """The weights a training stage would begin with."""
    run = Job(StageFile.read(chain.stage_file(stage)), RunSettings(), logging.getLogger("test"), lambda: None)
    return build_start(run).state_dict()


def snapshot(chain, stage, step):
    network, _ = load_network(snapshot_path(chain.artifact(stage), step))
    return network.state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_child_starts_from_the_last_snapshot_or_from_the_one_it_names(shared):
    run = shared.plan()
    early = shared.plan(set_={"intra": {"init_snapshot": "2"}}).stages["intra"]
    inter = run.stages["inter"]
    assert same(start(shared, run.stages["intra"]), snapshot(shared, inter, 4))
    assert same(start(shared, early), snapshot(shared, inter, 2))
    assert not same(start(shared, early), snapshot(shared, inter, 4))


def test_label_free_starts_from_the_snapshot_that_selection_chose(shared):
    run = shared.plan(set_={"intra": {"init_snapshot": "label_free"}})
    chosen = shared.artifact(run.selects["inter"]).load()["summary"]["label_free"]
    assert same(start(shared, run.stages["intra"]), snapshot(shared, run.stages["inter"], chosen))


def test_selection_scores_every_snapshot_and_takes_the_best(shared):
    run = shared.plan()
    folder = shared.artifact(run.selects["inter"])
    table = pd.read_csv(folder.path / "selection.csv")
    assert table["step"].tolist() == [2, 4]
    best = table.loc[table["information_maximisation"].idxmax(), "step"]
    assert folder.load()["summary"]["label_free"] == best


def test_evaluation_keeps_last_label_free_and_oracle_apart(shared):
    run = shared.plan()
    folder = shared.artifact(run.evaluates["inter"]).path
    metrics = read_json(folder / "metrics.json")
    chosen = shared.artifact(run.selects["inter"]).load()["summary"]["label_free"]
    assert metrics["last"]["step"] == 4 and metrics["label_free"]["step"] == chosen
    assert metrics["oracle_best"]["selection"] == "oracle"
    table = pd.read_csv(folder / "metrics.csv").set_index("step")
    assert metrics["oracle_best"]["miou_present"] == table["miou_present"].max()
    assert metrics["last"]["miou_present"] == table.loc[4, "miou_present"]


def test_figures_are_those_of_the_confusion_matrix(shared):
    run = shared.plan()
    folder = shared.artifact(run.evaluates["inter"]).path
    last = read_json(folder / "metrics.json")["last"]
    matrix = pd.read_csv(folder / "confusion-00000004.csv", index_col="label").to_numpy()
    hit = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - hit
    present = union > 0
    assert matrix.sum() == last["pixels"] == 3 * 48 * 32
    assert last["miou_present"] == round(100 * (hit[present] / union[present]).mean(), 2)
    assert last["pixel_accuracy"] == round(100 * hit.sum() / matrix.sum(), 2)


def test_pseudo_labels_are_the_rankings_argmax_of_the_easy_images(shared):
    run = shared.plan()
    table = pd.read_csv(shared.artifact(run.stages["split"]).path / "split.csv", dtype={"image": str})
    easy = set(table.loc[table["split"] == "easy", "image"])
    labels = pseudo_labels_of(shared.artifact(run.stages["labels"]))
    ranked = pseudo_labels_of(shared.artifact(run.stages["ranking"]))
    cache = cache_of(shared.artifact(run.stages["ranking"].parents["images"]))
    assert set(labels.names) == easy and len(easy) == 4
    assert list(labels.names) == [name for name in cache.names if name in easy], "the cache's order"
    for position, name in enumerate(labels.names):
        assert np.array_equal(labels[position], ranked[ranked.index_of(name)])


def test_the_argmax_maps_are_the_networks(shared):
    run = shared.plan()
    network, _ = load_network(snapshot_path(shared.artifact(run.stages["inter"]), 4))
    network.eval()
    folder = shared.artifact(run.stages["ranking"])
    cache = cache_of(shared.artifact(run.stages["ranking"].parents["images"]))
    maps = pseudo_labels_of(folder)
    scores = pd.read_csv(folder.path / "scores.csv", dtype={"image": str}).set_index("image")
    for position, name in enumerate(maps.names):
        image = torch.from_numpy(np.ascontiguousarray(cache.images[position].transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            logits = logits_at(Plain(), network, image, (32, 48))[0].double()
        assert (maps[position] == logits.argmax(0).numpy()).mean() > 0.999
        log = logits.log_softmax(0)
        entropy = -(log.exp() * log).sum(0).mean().item() / np.log(11)
        assert abs(scores.loc[name, "entropy"] - entropy) < 1e-5


def test_the_folder_for_people(chain):
    run = chain.plan()
    folder = chain.publish(run)
    links = {path.name: path for path in folder.iterdir() if path.is_symlink()}
    assert sorted(links) == ["1-source", "2-inter", "3-ranking", "4-split", "5-labels", "6-intra"]
    for name, link in links.items():
        assert not link.readlink().is_absolute(), "the results may be moved"
        assert link.resolve() == chain.artifact(run.stages[name[2:]]).path.resolve()
    metrics = read_json(folder / "metrics.json")
    assert metrics["keys"]["intra"] == run.stages["intra"].key
    assert metrics["stages"].keys() == {"source", "inter", "intra"}
    assert metrics["stages"]["intra"]["label_free_step"] in (2, 4)


def test_the_model_to_take_away_needs_nothing_else(chain, tmp_path):
    run = chain.plan()
    folder = chain.publish(run)
    away = (folder / "model").rename(tmp_path / "model")
    meta = json.loads((away / "model.json").read_text())
    assert "provenance" in json.dumps(meta) and run.stages["intra"].key in json.dumps(meta)
    cache = cache_of(chain.artifact(run.stages["ranking"].parents["images"]))
    model = load_model(away)
    ids = model.predict(Image.fromarray(np.asarray(cache.images[0])))
    assert ids.shape == (32, 48) and ids.dtype == np.uint8 and ids.max() < 11
    last = snapshot(chain, run.stages["intra"], 4)
    assert same(model.network.state_dict(), last)


def test_links_of_an_earlier_configuration_are_replaced(chain):
    chain.publish(chain.plan())
    chain.plan("source-only")
    folder = chain.publish(chain.plan("source-only"))
    assert sorted(path.name for path in folder.iterdir() if path.is_symlink()) == ["1-source"]
    assert read_json(folder / "metrics.json")["final"] == "source"


def test_a_snapshot_holds_the_step_that_its_file_is_named_after(shared):
    inter = shared.plan().stages["inter"]
    for step in shared.artifact(inter).load()["summary"]["snapshots"]:
        _, meta = load_network(snapshot_path(shared.artifact(inter), step))
        assert meta["step"] == step


@pytest.mark.parametrize(
    ("augmentation", "size"),
    [
        ({}, (48, 32)),
        ({"crop": (8, 8), "scale": (0.5, 1.5)}, (48, 32)),
        ({"shorter_side": (16, 16)}, (24, 16)),
        ({"shorter_side": (20, 27), "crop": (20, 20)}, (35, 24)),
    ],
)
def test_the_size_that_objects_have_in_training(augmentation, size):
    assert trained_size((48, 32), Augmentation(**augmentation)) == size


def test_the_size_of_the_published_plca():
    assert trained_size((2048, 1024), Augmentation(shorter_side=(760, 988))) == (1748, 874)
    assert trained_size((1024, 2048), Augmentation(shorter_side=(760, 988))) == (874, 1748)


def test_a_model_takes_along_the_sizes_of_its_training(shared):
    inter = shared.plan().stages["inter"]
    sizes = {"source": [48, 32], "target": [48, 32]}
    assert load_network(snapshot_path(shared.artifact(inter), 4))[1]["sizes"] == sizes
    resized = {"source": {"crop": [16, 16], "shorter_side": [20, 27]}}
    stage = shared.plan("minent", {"inter": {"augmentation": resized}}).stages["inter"]
    shared.finish(stage)
    sizes = {"source": [35, 24], "target": [48, 32]}
    assert load_network(snapshot_path(shared.artifact(stage), 4))[1]["sizes"] == sizes


def test_the_report_names_the_lists_that_were_used(chain):
    run = chain.plan()
    chain.publish(run)
    assert chain.report() == 0
    page = (chain.results / "report" / "chain" / "index.html").read_text("utf-8")
    lists = {
        "rendered train": run.stages["source"].parents["source"],
        "camera train": run.stages["inter"].parents["target"],
        "camera val": run.evaluates["intra"].parents["data"],
    }
    for (name, data), count in zip(lists.items(), (5, 6, 3), strict=True):
        digest = digest_of([str(number) for number in range(count)])
        assert list(cache_of(chain.artifact(data)).names) == [str(number) for number in range(count)]
        assert re.search(rf">{name}</td><td>{count}</td>.*{digest}", page)


def test_the_report_shows_each_selected_experiment(chain):
    run = chain.plan()
    chain.publish(run)
    assert chain.report() == 0
    page = (chain.results / "report" / "chain" / "index.html").read_text("utf-8")
    assert "IntraDA" in page and run.stages["intra"].key in page
    assert 'src="http' not in page and 'href="http' not in page
    summary = (chain.results / "report" / "chain" / "summary.txt").read_text("utf-8")
    metrics = read_json(chain.artifact(run.evaluates["intra"]).path / "metrics.json")
    assert f"{metrics['last']['miou_present']:.2f}" in summary
