"""Every file in config/ loads, every recipe expands, and every experiment on built-in data plans."""

from pathlib import Path

import pytest
import yaml

from pipeline.config.load import Library, load_config
from pipeline.config.models import Experiment
from pipeline.config.yaml_files import merge, read_yaml
from pipeline.datasets.spec import DatasetSpec
from pipeline.plan.planner import Planner
from pipeline.plan.recipes import expand_recipe
from pipeline.plan.stage import in_order

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
LIBRARY = Library(CONFIG)


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG / folder).glob("*.yaml"))


def overlays() -> list[Path]:
    return sorted(path for path in CONFIG.glob("*.yaml") if path.name != "config.yaml")


def is_built_in(task: str) -> bool:
    parts = LIBRARY.task(task, "test")
    datasets = [*parts.source, parts.target, *([parts.evaluate] if parts.evaluate else [])]
    return all(LIBRARY.dataset(part.dataset, "test").format == "streets" for part in datasets)


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
    experiment = Experiment(task="streets", recipe=name, network="small")
    entries = expand_recipe(recipe.model_copy(update={"defaults": enough}), experiment, {}, name, "test")
    assert entries[0].kind == "train"
    assert recipe.title and len({entry.name for entry in entries}) == len(entries)


def test_recipes_have_different_titles():
    titles = [LIBRARY.recipe(name, "test").title for name in names("recipes")]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", names("experiments"))
def test_experiment_names_files_that_exist(name):
    config = load_config(root=CONFIG, overrides={"experiments": [name]})
    assert list(config.experiments) == [name]


BUILT_IN = [name for name in names("experiments") if is_built_in(LIBRARY.experiment(name, "test").task)]


def test_some_experiments_need_no_download():
    assert {"demo", "streets-intrada"} <= set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_experiment_on_built_in_data_plans(name):
    runs = Planner(load_config(root=CONFIG, overrides={"experiments": [name]})).plan()
    assert len(runs) == len(LIBRARY.experiment(name, "test").seeds)
    assert all(run.evaluates and run.final for run in runs)
    assert len(list(in_order(stage for run in runs for stage in run.all_stages()))) > 4


@pytest.mark.parametrize("path", overlays(), ids=lambda path: path.stem)
def test_overlay_loads(path):
    assert load_config([path], root=CONFIG).experiments


def test_the_default_selection_needs_no_download():
    config = load_config(root=CONFIG)
    assert all(is_built_in(experiment.task) for experiment in config.experiments.values())


@pytest.mark.parametrize(
    "path", sorted(CONFIG.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIG))
)
def test_yaml_is_plain_and_says_what_it_is_for(path):
    assert read_yaml(path) == yaml.safe_load(path.read_text("utf-8"))
