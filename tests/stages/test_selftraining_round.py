"""A self-training round end to end: training on labels, priors, the source's share, keys of further rounds."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from selftraining_runs import SIZE, attempts, finish, make_run, plan, run_until, write_config

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.artifacts.files import read_json
from pipeline.data.augmentation import rare_classes
from pipeline.data.parameters import RareCrops
from pipeline.data.placement import Placement, resized_label
from pipeline.numerics.confidence_regularisers import lrent_soft_labels
from pipeline.numerics.priors import count_label, shrink_prior, spatial_prior
from pipeline.plan.stage import in_order
from pipeline.report.collect import prior_pictures
from pipeline.report.publishing import run_file
from pipeline.stages.inputs import (
    cache_of,
    domain_of,
    network_of,
    pseudo_labels_of,
    source_names_of_round,
    source_of_round,
)
from pipeline.stages.prior_file import stored_prior
from pipeline.stages.train import with_learning_rate_of_round
from pipeline.training.parameters import TrainParameters


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration, and results with the labels of a first CBST round."""
    folder = tmp_path_factory.mktemp("rounds")
    root, results = write_config(folder), folder / "results"
    run_until(results, plan(root, "cbst", results=results), "labels1")
    return root, results


def test_rounds_run_through_the_runner_one_after_the_other(world: tuple[Path, Path], tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], "cbst", results=results, rounds=2)
    for name in ("round1", "labels2", "round2"):
        path = results / "stages" / f"{planned.stages[name].key}.json"
        assert run_file(path, tmp_path / f"{name}.log") == 0
    first = pd.read_csv(results / "pseudolabel" / planned.stages["labels1"].key / "thresholds.csv")
    second = pd.read_csv(results / "pseudolabel" / planned.stages["labels2"].key / "thresholds.csv")
    assert set(first["round"]) == {0} and set(first["portion"]) == {0.2}
    assert set(second["round"]) == {1} and set(second["portion"]) == {0.25}
    run = make_run(results, planned.stages["round2"])
    assert run.folder.path.parent.name == "selftrain"
    metrics = pd.read_csv(run.out / "metrics.csv")
    assert np.isfinite(metrics[["segmentation", "target"]].to_numpy()).all()
    labels = make_run(results, planned.stages["labels2"]).folder.load()["summary"]
    assert labels["network"] == {
        "rule": "selftrain",
        "key": planned.stages["round1"].key,
        "digest": make_run(results, planned.stages["round1"]).folder.load()["digest"],
        "step": 3,
    }


def test_a_training_stopped_and_resumed_ends_with_the_same_digest(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    digests = []
    for name in ("whole", "broken"):
        results = tmp_path / name / "results"
        shutil.copytree(world[1], results)
        stage = plan(world[0], "cbst", results=results).stages["round1"]
        if name == "broken":
            assert attempts(results, stage, 0, error=False) >= 2
        digests.append(finish(make_run(results, stage))["digest"])
    assert digests[0] == digests[1]


def test_more_rounds_plan_only_the_new_ones(world: tuple[Path, Path]) -> None:
    three, five = (plan(world[0], "cbst", rounds=count).stages for count in (3, 5))
    assert {name: stage.key for name, stage in three.items()}.items() <= {
        name: stage.key for name, stage in five.items()
    }.items()
    assert sorted(set(five) - set(three)) == ["labels4", "labels5", "round4", "round5"]
    assert [five[f"labels{n}"].parameters.round for n in (1, 5)] == [0, 4]
    assert [five[f"round{n}"].parameters.objective.round for n in (1, 5)] == [0, 4]


def test_recipes_share_the_source_model_and_start_where_they_say(world: tuple[Path, Path]) -> None:
    recipes = ("st", "cbst", "cbst-sp", "crst-mrkld", "crst-lrent", "advent-cbst", "intrada-cbst")
    planned = {name: plan(world[0], name).stages for name in recipes}
    assert len({stages["source"].key for stages in planned.values()}) == 1
    starts = {name: stages["labels1"].parents["model"] for name, stages in planned.items()}
    assert starts["cbst"] == planned["cbst"]["source"]
    assert starts["advent-cbst"] == planned["advent-cbst"]["inter"]
    assert starts["intrada-cbst"] == planned["intrada-cbst"]["intra"]
    assert planned["crst-mrkld"]["labels1"].key == planned["cbst"]["labels1"].key


def test_labels_and_objective_must_fit(world: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="belong together"):
        plan(world[0], "crst-lrent", {"labels": {"soft_alpha": None}})
    with pytest.raises(ConfigError, match="belong together"):
        plan(world[0], "cbst", {"labels": {"soft_alpha": 0.25}})
    recipe = world[0] / "recipes" / "unlabelled.yaml"
    recipe.write_text(
        "title: t\nstages:\n  source: {method: supervised}\n  again: {method: self_training, init: source}\n"
    )
    with pytest.raises(ConfigError, match=r"again\.target: .*pseudolabel"):
        plan(world[0], "unlabelled", {"again": {"steps": 1}})


def test_mining_counts_predicted_pixels_not_labelled_ones(world: tuple[Path, Path]) -> None:
    stage = plan(world[0], "cbst", results=world[1]).stages["round1"]
    domain = domain_of(make_run(world[1], stage), "target")
    table = pd.read_csv(world[1] / "pseudolabel" / stage.parents["target_labels"].key / "thresholds.csv")
    assert domain.class_counts() == tuple(table["count"])
    assert tuple(table["count"]) != tuple(table["labelled"])
    present = [index for index, count in enumerate(table["count"]) if count]
    rarest = sorted(present, key=lambda index: (table["count"][index], index))[:2]
    found = rare_classes(domain.class_counts(), RareCrops(classes=2))
    assert sorted(found) == sorted(rarest)


def parameters_of(round_index: int, **objective: object) -> TrainParameters:
    return TrainParameters.model_validate(
        {"method": "self_training", "steps": 5, "objective": {"round": round_index, **objective}}
    )


def test_learning_rate_of_a_round() -> None:
    rates = [
        with_learning_rate_of_round(parameters_of(number, lr_factor=0.5)).optimiser.lr for number in (0, 1, 3)
    ]
    assert rates == [2.5e-4, 1.25e-4, 2.5e-4 / 8]
    unchanged = parameters_of(3)
    assert with_learning_rate_of_round(unchanged) is unchanged


def test_source_share_grows_nested_and_stops_at_its_maximum() -> None:
    names = tuple(f"image-{number}" for number in range(40))
    chosen = [
        source_names_of_round(
            parameters_of(number, source_portion=0.1, source_step=0.1, source_max=0.25), names, seed=1
        )
        for number in range(4)
    ]
    assert [len(part) for part in chosen if part is not None] == [4, 8, 10, 10]
    assert chosen[0] == chosen[1][:4] and chosen[1] == chosen[2][:8]  # type: ignore[index]
    assert source_names_of_round(parameters_of(0), names, seed=1) is None


@pytest.mark.parametrize(("portion", "images"), [(0.25, 1), (0.1, 0)])
def test_one_source_image_or_none(
    world: tuple[Path, Path], tmp_path: Path, portion: float, images: int
) -> None:
    results = tmp_path / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], "cbst", {"round": {"objective": {"source_portion": portion}}}, results)
    run = run_until(results, planned, "round1")
    metrics = pd.read_csv(run.out / "metrics.csv")
    assert ("segmentation" in metrics.columns) == (images > 0)
    assert np.isfinite(metrics["target"]).all()


def test_a_share_of_a_pseudo_labelled_source_keeps_its_pseudo_labels(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(world[1], results)
    recipe = world[0] / "recipes" / "pseudo-source.yaml"
    recipe.write_text(
        "title: t\nstages:\n  source: {method: supervised}\n"
        "  labels: {kind: pseudolabel, labelling: thresholds, model: source, soft_alpha: 0.25}\n"
        "  round: {method: self_training, init: source, source: labels, target: labels,"
        " objective: {regulariser: lrent, source_portion: 0.5}}\n"
    )
    planned = plan(world[0], "pseudo-source", results=results)
    run = run_until(results, planned, "round")
    assert (pd.read_csv(run.out / "metrics.csv")["segmentation"] > 0).all()
    labels = pseudo_labels_of(run.parent("source_labels"))
    part = source_of_round(domain_of(run, "source"), run.parameters, seed=0)
    assert len(labels) == 5 and len(part) == 2
    for index, name in enumerate(part.names):
        assert np.array_equal(part.label(index), labels[labels.index_of(name)])
    assert "soft" in part.extras and part.class_counts() == domain_of(run, "source").class_counts()


def test_all_target_pixels_ignored(world: tuple[Path, Path], tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], "cbst", {"labels1": {"portion": 0.0}}, results)
    run = run_until(results, planned, "round1")
    metrics = pd.read_csv(run.out / "metrics.csv")
    assert (metrics["target"] == 0.0).all() and (metrics["segmentation"] > 0.0).all()


def test_the_prior_is_that_of_the_source_labels_at_the_targets_size(tmp_path: Path) -> None:
    root, results = write_config(tmp_path), tmp_path / "results"
    planned = plan(root, "cbst-sp", {}, results)
    run = run_until(results, planned, "prior")
    labels = cache_of(run.parent("source")).labels
    assert labels is not None
    counts = np.zeros((11, SIZE[1], SIZE[0]), np.int32)
    for label in labels:
        count_label(counts, resized_label(label, (SIZE[0], SIZE[1])))
    wanted = shrink_prior(spatial_prior(counts, 4))
    assert np.array_equal(stored_prior(run.folder), wanted.numpy())
    assert read_json(run.out / "prior.json")["size"] == SIZE
    pictures = prior_pictures(run.folder, tuple("abcdefghijk"))
    assert [picture.title for picture in pictures] == list("abcdefghijk")
    assert max(int(picture.values.max()) for picture in pictures) == 255
    again = tmp_path / "again" / "results"
    shutil.copytree(results, again)
    shutil.rmtree(again / "prior")
    assert attempts(again, planned.stages["prior"], 0, error=False) == 3
    assert finish(make_run(again, planned.stages["prior"]))["digest"] == run.folder.load()["digest"]


def test_the_report_shows_thresholds_and_priors(tmp_path: Path) -> None:
    root, results = write_config(tmp_path), tmp_path / "results"
    planned = plan(root, "cbst-sp", results=results, rounds=1)
    keys = [stage.key for stage in in_order(planned.all_stages())]
    for name in (*keys, "experiment-tiny-seed0", "report-tiny"):
        assert run_file(results / "stages" / f"{name}.json", None) == 0
    page = next(tmp_path.rglob("index.html")).read_text(encoding="utf-8")
    assert "Pseudo-label thresholds by round" in page
    assert "Spatial priors" in page and 'alt="prior of bicyclist"' in page
    logging.getLogger("pipeline").handlers.clear()


def test_a_prior_needs_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, results = write_config(tmp_path), tmp_path / "results"
    planned = plan(root, "cbst-sp", results=results)
    for role in ("source", "target"):
        finish(make_run(results, planned.stages["prior"].parents[role]))
    run = make_run(results, planned.stages["prior"])
    path = run.parent("target").path / "statistics.json"
    statistics = read_json(path) | {"sizes": {"48x32": 4, "64x32": 1}}
    monkeypatch.setattr("pipeline.data.cache.read_json", lambda _: statistics)
    with pytest.raises(DataError, match=r"2 sizes \(48x32, 64x32"):
        finish(run)


def test_soft_labels_at_load_time_are_lrents(tmp_path: Path) -> None:
    root, results = write_config(tmp_path), tmp_path / "results"
    planned = plan(root, "crst-lrent", results=results)
    run_until(results, planned, "labels1")
    run = make_run(results, planned.stages["round1"])
    domain = domain_of(run, "target")
    width, height = SIZE
    whole = Placement((width, height), (width, height), 0, 0, (width, height))
    labels = make_run(results, planned.stages["labels1"])
    table = pd.read_csv(labels.out / "thresholds.csv")
    network, _ = network_of(labels, "model", "last")
    thresholds = torch.tensor(table["threshold"].to_numpy(np.float32))
    for index, name in enumerate(domain.names):
        image = torch.from_numpy(domain.image(index).transpose(2, 0, 1).copy())[None]
        with torch.no_grad():
            from pipeline.inference.test_modes import Plain, logits_at

            logits = logits_at(Plain(), network, image, (height, width))
        wanted, kept = lrent_soft_labels(logits.log_softmax(1), thresholds, 0.25)
        soft = domain.extras["soft"](name, whole)
        assert soft.dtype == np.float16 and soft.shape == (11, height, width)
        chosen = (domain.label(index) != 255) & kept[0].numpy()
        difference = np.abs(soft - wanted[0].numpy())[:, chosen]
        assert difference.max() < 0.03 and difference.mean() < 1e-3, "float16 logits round"
        assert (kept[0].numpy() == (domain.label(index) != 255)).mean() > 0.99
    finish(run)
    assert (pd.read_csv(run.out / "metrics.csv")["target"] > 0).all()


def test_an_argmax_labels_summary_names_the_network_and_its_rule(tmp_path: Path) -> None:
    """What publishes the previous network's result where the easy part is empty reads these."""
    root, results = write_config(tmp_path), tmp_path / "results"
    planned = plan(root, "intrada", {"split": {"lambda": 0.0}, "intra": {"steps": 2}}, results)
    run = run_until(results, planned, "intra")
    assert run.folder.load()["summary"]["copied_from"] == planned.stages["inter"].key
    labels = make_run(results, planned.stages["labels"])
    assert labels.folder.load()["summary"]["network"]["rule"] == "adapt"
    assert len(pseudo_labels_of(labels.folder)) == 0
    logging.getLogger("pipeline").handlers.clear()
