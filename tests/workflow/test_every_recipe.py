"""Every shipped recipe, planned and run to the page at toy size, on a task with an evaluation split and on one without."""

import json
import re

import pandas as pd
import pytest
from process_settings import process_settings  # noqa: F401 - a fixture
from tiny import EXPERIMENT, REPOSITORY, RUN, write, write_config

from pipeline.artifacts.errors import SegadaptError
from pipeline.config.load import Library, load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file
from pipeline.stages.results import Results

RECIPES = sorted(path.stem for path in (REPOSITORY / "config/recipes").glob("*.yaml"))
LABELLED = {"ass", "ass-paper", "joint-ce", "strong-few", "target-only"}
"""Recipes with a few labelled target images; `oracle` reads all labels."""
FROZEN = {"daformer-paper", "hrda-paper", "mic-paper", "vfm-uda-plus-paper"}
"""Recipes that keep features near those of trained weights, which the small network does not have."""
FEW = ["intrada", "joint-ce", "source-only", "target-only"]
"""Those that differ most in what they read."""
VIEW = {"flip": 0.5, "crop": [48, 32]}
TRAIN = EXPERIMENT["set"]["train"] | {
    "steps": 1,
    "horizon": 2,
    "accumulation": 1,
    "snapshots": 1,
    "augmentation": {"source": VIEW, "target": VIEW, "labelled": VIEW},
}


def experiment(recipe, task):
    """One step of training in each stage of a recipe."""
    shipped = Library(REPOSITORY / "config").recipe(recipe, "test")
    stages = shipped.stages | (shipped.rounds.stages if shipped.rounds else {})
    trained = [name for name, entry in stages.items() if "method" in entry]
    body = {"task": task, "recipe": recipe, "set": {name: dict(TRAIN) for name in trained}}
    if recipe == "plca-paper":
        body["set"]["inter"]["objective"] = {"lovasz_images": 2}
    if recipe in FROZEN:
        body["set"]["inter"]["objective"] = {"feature_distance": None}
    if recipe.startswith("vfm-uda"):  # it has no tokens either
        body["set"]["inter"]["objective"] = {"feature_distance": None, "mask_kind": "squares"}
    if shipped.rounds:
        body["rounds"] = 1
    return body | ({"labelled": {"count": 2}} if recipe in LABELLED else {})


def configure(folder, experiments):
    """Write the suite `recipes`; returns its configuration."""
    write(folder / "config/recipes.yaml", {"network": "small", "experiments": experiments})
    write(folder / "config/config.yaml", {"suite": "recipes", "run": RUN})
    return load_config(root=folder / "config")


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.slow)])
def recipes(request):
    return FEW if request.param == "few" else RECIPES


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipes):
    """The recipes on both tasks, run to the page; `scored` has an evaluation split, `bare` has none."""
    folder = tmp_path_factory.mktemp("recipes")
    root = write_config(folder)
    task = json.loads((root / "tasks/tiny.yaml").read_text("utf-8"))
    write(root / "tasks/scored.yaml", task)
    del task["evaluate"]
    write(root / "tasks/bare.yaml", task)
    experiments = {f"{task}-{one}": experiment(one, task) for one in recipes for task in ("scored", "bare")}
    # Nothing but the source is read, and no snapshot is chosen.
    last = {"evaluate": {"snapshots": "last"}}
    experiments["bare-last"] = {**experiments["bare-source-only"]}
    experiments["bare-last"]["set"] = experiments["bare-last"]["set"] | last
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = configure(folder, experiments)
        runs = Planner(config).plan()
        write_stage_files(config, runs)
        keys = [stage.key for stage in in_order(stage for run in runs for stage in run.all_stages())]
        keys += [f"experiment-{run.experiment}-seed0" for run in runs]
        for key in [*keys, "report-recipes"]:
            assert run_file(Results().planned(key), folder / "log.txt") == 0, (
                key,
                (folder / "log.txt").read_text(),
            )
    return folder


@pytest.fixture(scope="module")
def table(finished):
    return pd.read_csv(finished / "results/report/recipes/results.csv").set_index(["experiment", "stage"])


def test_every_experiment_is_on_the_page_with_all_its_trainings(table, recipes):
    shown = table.reset_index().groupby("experiment")["stage"].apply(list)
    assert set(shown.index) == {f"{task}-{one}" for one in recipes for task in ("scored", "bare")} | {
        "bare-last"
    }
    assert all(shown[f"scored-{one}"] == shown[f"bare-{one}"] for one in recipes)
    assert (table["trained"] == 1).all()


def test_figures_are_there_exactly_where_labels_are(table):
    scored = table.index.get_level_values(0).str.startswith("scored")
    assert table.loc[scored, "last_mean"].between(0, 100).all()
    assert table.loc[~scored, "last_mean"].isna().all()


def test_the_page_never_says_that_a_finished_training_was_not_run(finished):
    page = (finished / "results/report/recipes/index.html").read_text("utf-8")
    assert "no labels" in page
    assert "not run" not in page


def test_the_gallery_offers_every_training_that_a_stage_looked_at(finished, table):
    page = (finished / "results/report/recipes/index.html").read_text("utf-8")
    read = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    offered = {
        task["rows"][int(place)]["name"]
        for task in json.loads(read)["tasks"]
        for place in task["gallery"]["answers"]
    }
    trained = table.reset_index()
    wanted = trained[trained["experiment"] != "bare-last"]
    assert offered == set(wanted["experiment"] + " / " + wanted["stage"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_trains_on_target_labels_is_refused_where_there_are_none(tmp_path, monkeypatch, recipe):
    monkeypatch.chdir(tmp_path)
    root = write_config(tmp_path)
    spec = {"root": str(tmp_path), "splits": {"train": {"images": "photos/*.png"}}}
    write(root / "datasets/photos.yaml", spec)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / f"photos/{number}.png").write_bytes(b"never opened by the plan")
    task = json.loads((root / "tasks/tiny.yaml").read_text("utf-8"))
    del task["evaluate"]
    write(root / "tasks/photos.yaml", task | {"target": {"dataset": "photos"}})
    planner = Planner(configure(tmp_path, {"one": experiment(recipe, "photos")}))
    if recipe in LABELLED | {"oracle"}:
        with pytest.raises(SegadaptError, match=r"photos.*train.*labels"):
            planner.plan()
    else:
        assert planner.plan()
