"""The shipped configuration: its folder, its suites, and their experiments; needs no data."""

from pathlib import Path

from pipeline.config.load import Library
from pipeline.config.suites import Experiment, SetLayer, Suite, read_suite
from pipeline.config.yaml_files import read_yaml
from pipeline.plan.recipes import Entry, expand_recipe

CONFIG = Path(__file__).resolve().parents[1] / "config"
LIBRARY = Library(CONFIG)
SUITES: dict[str, Suite] = {
    path.stem: read_suite(path, read_yaml(path))
    for path in sorted(CONFIG.glob("*.yaml"))
    if path.name != "config.yaml"
}
EXPERIMENTS: dict[str, Experiment] = {
    name: experiment for suite in SUITES.values() for name, experiment in suite.experiments.items()
}
NOTHING = SetLayer("--config: set", {})


def is_built_in(experiment: Experiment) -> bool:
    """Whether an experiment reads the built-in streets alone."""
    task = LIBRARY.task(experiment.task, "test")
    parts = [*task.source, task.target, *([task.evaluate] if task.evaluate else [])]
    return all(LIBRARY.dataset(part.dataset, "test").format == "streets" for part in parts)


def entries_of(name: str) -> list[Entry]:
    """An experiment's stages in order with validated parameters."""
    experiment = EXPERIMENTS[name]
    return expand_recipe(LIBRARY.recipe(experiment.recipe, "test"), experiment, NOTHING, "recipe")
