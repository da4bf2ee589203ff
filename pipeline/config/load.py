"""Loading the configuration: settings, and the named experiments, tasks, datasets, taxonomies, networks, recipes."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import Experiment, Recipe, Settings, Task
from pipeline.config.validation import validated
from pipeline.config.yaml_files import merge, read_yaml
from pipeline.datasets.spec import DatasetFile, DatasetSpec
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.networks.parameters import NetworkParameters
from pipeline.schema.names import nearest

Model = TypeVar("Model", bound=BaseModel)

DEFAULT_FILE = Path("config/config.yaml")


class Library:
    """The named files below one `config/` folder, each read and validated once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[tuple[str, str], Any] = {}

    def _names(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self.root / folder).glob("*.yaml"))

    def _get(self, folder: str, name: str, model: type[Model], asked_by: str) -> Model:
        if (folder, name) not in self._read:
            path = self.root / folder / f"{name}.yaml"
            if not path.is_file():
                raise ConfigError(f"{asked_by}: no {path}; {nearest(name, self._names(folder))}")
            self._read[folder, name] = validated(model, read_yaml(path), str(path))
        found: Model = self._read[folder, name]
        return found

    def experiment(self, name: str, asked_by: str) -> Experiment:
        """`config/experiments/<name>.yaml`."""
        return self._get("experiments", name, Experiment, asked_by)

    def task(self, name: str, asked_by: str) -> Task:
        """`config/tasks/<name>.yaml`."""
        return self._get("tasks", name, Task, asked_by)

    def recipe(self, name: str, asked_by: str) -> Recipe:
        """`config/recipes/<name>.yaml`."""
        return self._get("recipes", name, Recipe, asked_by)

    def network(self, name: str, asked_by: str) -> NetworkParameters:
        """`config/networks/<name>.yaml`."""
        return self._get("networks", name, NetworkParameters, asked_by)

    def taxonomy(self, name: str, asked_by: str) -> Taxonomy:
        """`config/taxonomies/<name>.yaml`."""
        return self._get("taxonomies", name, Taxonomy, asked_by)

    def dataset(self, name: str, asked_by: str) -> DatasetSpec:
        """`config/datasets/<name>.yaml`."""
        said = self._get("datasets", name, DatasetFile, asked_by).model_dump(
            by_alias=True, exclude_unset=True
        )
        file = str(self.root / "datasets" / f"{name}.yaml")
        return DatasetSpec.model_validate({**said, "name": name, "file": file})

    def datasets(self) -> list[str]:
        """Names of all dataset files."""
        return self._names("datasets")


class Config:
    """Validated settings plus the library that their names point into."""

    def __init__(self, settings: Settings, library: Library, origin: str) -> None:
        self.settings = settings
        self.library = library
        self.origin = origin

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """The selected experiments by name, in the order given."""
        return {name: self.library.experiment(name, self.origin) for name in self.settings.experiments}


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `key=value` words (dots go into mappings: `run.device=cpu`) into a nested mapping of texts."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise ConfigError(f"--config {assignment}: needs key=value")
        nested: Any = text
        if text[:1] in "[{":
            nested = yaml.safe_load(text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = merge(values, nested)
    return values


def _undotted(values: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key, value in values.items():
        nested: Any = value
        for part in reversed(str(key).split(".")):
            nested = {part: nested}
        merged = merge(merged, nested)
    return merged


def load_config(
    files: Sequence[str | os.PathLike[str]] = (),
    overrides: Mapping[str, Any] | None = None,
    root: Path | None = None,
) -> Config:
    """Read `config/config.yaml`, lay `files` over it in order, then `overrides` (from `--config`), and validate.

    `root` is the folder that holds `config.yaml` (default `config/` in the working directory). Experiments
    and everything they name are validated too. Raises ConfigError with file, key and what to do.
    """
    root = root or DEFAULT_FILE.parent
    base = root / DEFAULT_FILE.name
    paths = [base] if base.is_file() else []
    paths += [path for path in map(Path, files) if not paths or path.resolve() != base.resolve()]
    if not paths:
        raise ConfigError(
            f"{base}: no such file; run from the folder that holds config/, or name one with --configfile"
        )
    values: dict[str, Any] = {}
    for path in paths:
        values = merge(values, read_yaml(path))
    if overrides:
        values = merge(values, _undotted(overrides))
    origin = " + ".join(str(path) for path in paths) + (" + --config" if overrides else "")
    config = Config(validated(Settings, values, origin), Library(root), origin)
    for name, experiment in config.experiments.items():
        asked = str(root / "experiments" / f"{name}.yaml")
        task_path = str(root / "tasks" / f"{experiment.task}.yaml")
        task = config.library.task(experiment.task, asked)
        config.library.recipe(experiment.recipe, asked)
        config.library.network(experiment.network, asked)
        config.library.taxonomy(task.taxonomy, task_path)
    return config
