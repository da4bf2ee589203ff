"""Every file in config/ loads, every recipe and experiment expands, and those on built-in data plan."""

import subprocess

import pytest
import yaml
from shipped import (
    CONFIG,
    EXPERIMENTS,
    LIBRARY,
    NOTHING,
    SUITES,
    entries_of,
    is_built_in,
    shipped_files,
    shipped_names,
)

from pipeline.config.load import load_config
from pipeline.config.suites import read_suite
from pipeline.config.yaml_files import merge, read_yaml
from pipeline.datasets.spec import DatasetSpec
from pipeline.plan.planner import Planner
from pipeline.plan.recipes import expand_recipe
from pipeline.plan.stage import in_order


def names(folder: str) -> list[str]:
    return shipped_names(CONFIG / folder)


@pytest.mark.parametrize("name", names("datasets"))
def test_dataset(name):
    spec = LIBRARY.dataset(name, "test")
    if spec.format != "streets":
        assert spec.license and spec.source and spec.where, "says whose data they are and where to get them"
        assert spec.expected.keys() <= spec.splits.keys()


@pytest.mark.parametrize("name", names("taxonomies"))
def test_taxonomy(name):
    assert LIBRARY.taxonomy(name, "test").name == name


@pytest.mark.parametrize("name", names("networks"))
def test_network(name):
    assert LIBRARY.network(name, "test").backbone


@pytest.mark.parametrize("name", names("tasks"))
def test_task_names_datasets_splits_and_classes_that_exist(name):
    task = LIBRARY.task(name, "test")
    taxonomy = LIBRARY.taxonomy(task.taxonomy, name)
    for part in [*task.source, task.target, *([task.evaluate] if task.evaluate else [])]:
        spec: DatasetSpec = LIBRARY.dataset(part.dataset, name)
        assert part.split in spec.splits
        if part is not task.target:
            classes = set(spec.ids or spec.colors) - {"ignore"}
            assert set(taxonomy.names) <= classes, f"{part.dataset} maps {sorted(classes)}"


@pytest.mark.parametrize("name", names("recipes"))
def test_recipe_expands(name):
    recipe = LIBRARY.recipe(name, "test")
    enough = merge({"train": {"steps": 1000}}, recipe.defaults)
    content = {"task": "streets", "recipe": name, "network": "small", "experiments": {"one": {}}}
    experiment = read_suite(CONFIG / "one.yaml", content).experiments["one"]
    entries = expand_recipe(recipe.model_copy(update={"defaults": enough}), experiment, NOTHING, name)
    assert entries[0].kind == "train"
    assert recipe.title and len({entry.name for entry in entries}) == len(entries)


def test_recipes_have_different_titles():
    titles = [LIBRARY.recipe(name, "test").title for name in names("recipes")]
    assert len(set(titles)) == len(titles)


def test_experiments_have_one_name_over_all_suites():
    # Given together, suites refuse equal names and read all that their experiments name.
    config = load_config([CONFIG / f"{suite}.yaml" for suite in SUITES], root=CONFIG)
    assert len(config.experiments) == sum(len(suite.experiments) for suite in SUITES.values())


def test_every_experiment_expands():
    for name in EXPERIMENTS:
        assert any(entry.kind == "train" for entry in entries_of(name)), name


def test_every_experiment_on_built_in_data_plans():
    names = [name for name, experiment in EXPERIMENTS.items() if is_built_in(experiment)]
    assert {"demo", "streets-intrada"} <= set(names)
    files = [CONFIG / f"{suite}.yaml" for suite in SUITES]
    runs = Planner(load_config(files, {"only": names}, CONFIG)).plan()
    assert len(runs) == sum(len(EXPERIMENTS[name].seeds) for name in names)
    assert all(run.evaluates and run.final for run in runs)
    assert len(list(in_order(stage for run in runs for stage in run.all_stages()))) > 400


def test_what_a_user_wrote_beside_it_is_not_shipped(tmp_path):
    for command in (["git", "init", "-q"], ["git", "add", "ours.yaml"]):
        (tmp_path / "ours.yaml").write_text("a: 1\n")
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "mine.yaml").write_text("broken: [\n")
    assert shipped_names(tmp_path) == ["ours"]


def test_all_is_shipped_where_git_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "ours.yaml").write_text("a: 1\n")
    assert shipped_names(tmp_path) == ["ours"]


def test_the_default_selection_needs_no_download():
    config = load_config(root=CONFIG)
    assert all(is_built_in(experiment) for experiment in config.experiments.values())


def test_the_configuration_stays_small():
    assert len(SUITES) <= 11
    assert sum(len((CONFIG / f"{suite}.yaml").read_text("utf-8").splitlines()) for suite in SUITES) < 600
    assert len(shipped_files()) <= 125


def test_yaml_is_plain():
    for path in (path for path in shipped_files() if path.suffix == ".yaml"):
        assert read_yaml(path) == yaml.safe_load(path.read_text("utf-8")), path
