"""The shipped configuration: its folder, its suites, and their experiments; needs no data.

A file is shipped when git knows it: suites and datasets that `init` or a user wrote beside them are not ours to test.
`git add` makes a new file one of them.
"""

import subprocess
from pathlib import Path

from pipeline.config.load import Library
from pipeline.config.suites import Experiment, SetLayer, Suite, read_suite
from pipeline.config.yaml_files import read_yaml
from pipeline.plan.recipes import Entry, expand_recipe

CONFIG = Path(__file__).resolve().parents[1] / "config"
LIBRARY = Library(CONFIG)


def shipped_files(folder: Path = CONFIG) -> list[Path]:
    """Files that git knows in a folder and below, in order; all that are there where it is no git repository."""
    known = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=False)
    named = [folder / name for name in known.stdout.split("\0") if name]
    return sorted(path for path in (folder.rglob("*") if known.returncode else named) if path.is_file())


def shipped_names(folder: Path = CONFIG) -> list[str]:
    """Names of the shipped YAML files directly in a folder."""
    return [path.stem for path in shipped_files(folder) if path.parent == folder and path.suffix == ".yaml"]


SUITES: dict[str, Suite] = {
    name: read_suite(CONFIG / f"{name}.yaml", read_yaml(CONFIG / f"{name}.yaml"))
    for name in shipped_names()
    if name != "config"
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
