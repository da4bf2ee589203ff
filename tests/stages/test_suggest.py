"""Suggesting images to label, and the chains that use labelled target images, end to end at a tiny size."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

from selftraining_runs import attempts, finish, make_run, run_until, write_config

from pipeline.artifacts.errors import DataError
from pipeline.config.load import load_config
from pipeline.networks.normalise import normalise
from pipeline.numerics.diversity import k_center_greedy
from pipeline.plan.files import write_stages
from pipeline.plan.planner import PlannedRun, Planner
from pipeline.plan.stage import Stage, in_order
from pipeline.stages.inputs import cache_of, network_of
from pipeline.stages.parameters import SuggestParameters
from pipeline.stages.runner import run_stage
from pipeline.stages.suggest import TILE, Candidates, candidates_of, suggestion_table

TRAIN = {"batch": 2, "steps": 2, "snapshots": 1, "optimiser": {"kind": "adamw", "lr": 0.002}}


def planned(
    root: Path, results: Path, recipe: str, count: int = 3, **experiment: object
) -> tuple[PlannedRun, Stage]:
    """Plan a recipe and a suggestion after it on the tiny task; the stage files are written."""
    body = {"task": "tiny", "recipe": recipe, "network": "small", "set": {"train": TRAIN}, **experiment}
    (root / "tiny.yaml").write_text(json.dumps({"experiments": {"tiny": body}}))
    settings = {"suite": "tiny", "run": {"device": "cpu", "threads": 1, "workers": 0}}
    (root / "config.yaml").write_text(json.dumps(settings))
    config = load_config(root=root)
    run, stage = Planner(config).suggestion("tiny", SuggestParameters(count=count, candidates=0.6))
    write_stages([*run.all_stages(), stage], results)
    return run, stage


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stage]:
    """Results with a source model and its ranking of eight images; the suggestion has not run."""
    folder = tmp_path_factory.mktemp("ranked")
    root, results = write_config(folder, images=8), folder / "results"
    _, stage = planned(root, results, "source-only")
    for parent in in_order(stage.parents.values()):
        finish(make_run(results, parent))
    return results, stage


@pytest.fixture
def world(ranked: tuple[Path, Stage], tmp_path: Path) -> tuple[Path, Stage]:
    shutil.copytree(ranked[0], tmp_path / "results")
    return tmp_path / "results", ranked[1]


def test_the_list_is_the_k_center_of_the_hardest_images(world: tuple[Path, Stage], tmp_path: Path) -> None:
    results, stage = world
    assert run_stage(results / "stages" / f"{stage.key}.json", tmp_path / "log") == 0
    run = make_run(results, stage)
    scores = pd.read_csv(run.parent("ranking").path / "scores.csv")
    hardest = scores.sort_values("entropy", ascending=False).head(5)  # 0.6 of 8, rounded up
    network, _ = network_of(make_run(results, stage.parents["ranking"]), "model", "last")
    images = cache_of(run.parent("images")).images
    vectors = []
    with torch.inference_mode():
        for name in hardest["image"]:
            image = torch.from_numpy(images[images.index_of(name)].copy()).permute(2, 0, 1)[None]
            vector = network(normalise(image, network.profile)).feature.mean(dim=(2, 3))[0].double()
            vectors.append((vector / vector.norm()).numpy())
    wanted = k_center_greedy(np.stack(vectors), 3, hardest["entropy"].to_numpy(), 0)
    names = [str(hardest["image"].iloc[index]) for index in wanted]
    assert (run.out / "suggested.txt").read_text().splitlines() == names
    table = pd.read_csv(run.out / "suggested.csv")
    assert list(table.columns) == ["name", "entropy", "order", "distance"]
    assert list(table["name"]) == names and list(table["order"]) == [1, 2, 3]
    assert table["entropy"].iloc[0] == scores["entropy"].max() and pd.isna(table["distance"].iloc[0])
    gap = np.linalg.norm(vectors[wanted[1]] - vectors[wanted[0]])
    assert table["distance"].iloc[1] == pytest.approx(gap, rel=1e-4)


def test_the_sheet_shows_image_classes_and_entropy(world: tuple[Path, Stage]) -> None:
    results, stage = world
    run = make_run(results, stage)
    summary = finish(run)["summary"]
    sheet = np.asarray(Image.open(run.out / "suggested.png"))
    assert sheet.shape == (2 * (TILE[0] + 4) + 4, 6 * (TILE[1] + 4) + 4, 3)
    last = sheet[TILE[0] + 8 :, 3 * (TILE[1] + 4) + 4 :]
    assert (last == 255).all() and not (sheet[: TILE[0]] == 255).all()
    assert summary["candidates"] == 5 and summary["labelled"] == 0
    assert summary["network"]["key"] == stage.parents["model"].key


def test_stops_and_kills_leave_the_same_digest(world: tuple[Path, Stage], tmp_path: Path) -> None:
    results, stage = world
    whole = tmp_path / "whole"
    shutil.copytree(results, whole)
    digest = finish(make_run(whole, stage))["digest"]
    assert attempts(results, stage, 2, error=False, parts=3) >= 1
    assert finish(make_run(results, stage))["digest"] == digest


SCORES = pd.DataFrame({"image": list("abcdef"), "entropy": [0.1, 0.5, 0.5, 0.9, 0.3, 0.2]})


def test_candidates_are_the_hardest_share_and_never_fewer_than_wanted() -> None:
    assert candidates_of(SCORES, [], 0.5, 1).names == ["d", "b", "c"]
    assert candidates_of(SCORES, [], 0.51, 1).names == ["d", "b", "c", "e"]
    assert candidates_of(SCORES, [], 0.1, 5).names == ["d", "b", "c", "e", "f"]


def test_images_with_labels_are_no_candidates_but_known() -> None:
    found = candidates_of(SCORES, ["b", "d", "elsewhere"], 0.5, 1)
    assert found.names == ["c", "e"] and found.labelled == ["b", "d"]
    assert found.entropy.tolist() == [0.5, 0.3]
    with pytest.raises(DataError, match="has 6 images, 4 of them without labels"):
        candidates_of(SCORES, ["b", "d"], 0.5, 5)


def test_a_labelled_image_counts_as_chosen() -> None:
    candidates = Candidates(["near", "far"], np.array([0.9, 0.5]), ["known"])
    table = suggestion_table(candidates, np.array([[1.0], [5.0], [0.0]], dtype=np.float32), 2)
    assert table["name"].tolist() == ["far", "near"]  # 0.5 * 5 beats 0.9 * 1
    assert table["distance"].tolist() == [5.0, 1.0]
    unknown = Candidates(["near", "far"], np.array([0.9, 0.5]), [])
    assert suggestion_table(unknown, np.array([[1.0], [5.0]]), 1)["name"].tolist() == ["near"]


def test_more_images_than_there_are_cannot_be_asked_for(world: tuple[Path, Stage], tmp_path: Path) -> None:
    results, stage = world
    path = results / "stages" / f"{stage.key}.json"
    record = json.loads(path.read_text())
    record["parameters"]["count"] = 9
    path.write_text(json.dumps(record))
    assert run_stage(path, tmp_path / "log") == 1
    assert "count 9: the ranking has 8 images" in (tmp_path / "log").read_text()


@pytest.fixture(scope="module")
def labelled_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("labelled")
    root, results = write_config(folder, images=5), folder / "results"
    run, _ = planned(root, results, "source-only")
    run_until(results, run, "source")
    return root, results


COLUMNS = {
    "plca": {"segmentation", "lovasz", "feature_association", "prediction_association", "lsr_target"},
    "joint-ce": {"segmentation", "segmentation_labelled"},
    "ass": {
        "segmentation",
        "segmentation_labelled",
        "adversarial_main",
        "semantic",
        "discriminator_semantic",
    },
    "target-only": {"segmentation"},
}


@pytest.mark.parametrize("recipe", COLUMNS)
def test_recipes_run_through_the_runner(
    labelled_world: tuple[Path, Path], tmp_path: Path, recipe: str
) -> None:
    root, results = labelled_world
    more = {} if recipe == "plca" else {"labelled": {"count": 2}}
    run, _ = planned(root, results, recipe, **more)
    final = run.stages[run.final]
    for stage in in_order([final]):
        assert run_stage(results / "stages" / f"{stage.key}.json", tmp_path / "log") == 0
    metrics = pd.read_csv(make_run(results, final).out / "metrics.csv")
    assert set(metrics.columns) >= COLUMNS[recipe]
    assert np.isfinite(metrics[sorted(COLUMNS[recipe])].to_numpy()).all()
    if recipe != "plca":
        role = "source" if recipe == "target-only" else "labelled"
        assert len(cache_of(make_run(results, final).parent(role))) == 2


def test_labels_that_were_used_are_not_suggested_again(labelled_world: tuple[Path, Path]) -> None:
    root, results = labelled_world
    run, stage = planned(root, results, "ass", labelled={"count": 2})
    for one in in_order([stage]):
        finish(make_run(results, one))
    made = make_run(results, stage)
    names = (made.out / "suggested.txt").read_text().split()
    known = run.stages["inter"].parents["labelled"].parameters.names
    assert len(names) == 3 and not set(names) & set(known)
    assert made.folder.load()["summary"]["labelled"] == 2
    assert pd.read_csv(made.out / "suggested.csv")["distance"].notna().all()
