"""Loading the configuration: settings, suites, and the named tasks, datasets, taxonomies, networks, recipes."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import Determinism, Overrides, Recipe, Settings, SuiteFile, Task
from pipeline.config.selection import selected
from pipeline.config.shipped import config_file, config_names
from pipeline.config.suites import Experiment, Suite, read_suite
from pipeline.config.validation import validated
from pipeline.config.yaml_files import merge, parse_value, read_yaml
from pipeline.datasets.spec import DatasetFile, DatasetSpec
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.networks.parameters import NetworkParameters
from pipeline.schema.names import nearest

Model = TypeVar("Model", bound=BaseModel)

DEFAULT_FILE = Path("config/config.yaml")


class Library:
    """The named files below a project's `config/` folder and, where it has none, the package's; each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[tuple[str, str], Any] = {}

    def _get(
        self,
        folder: str,
        name: str,
        model: type[Model],
        location: str,
        values_of: Callable[[Path], dict[str, Any]] = read_yaml,
    ) -> Model:
        if (folder, name) not in self._read:
            path = self.file(folder, name)
            if not path.is_file():
                raise ConfigError(f"{location}: no {path}; {nearest(name, config_names(self.root, folder))}")
            self._read[folder, name] = validated(model, values_of(path), str(path))
        found: Model = self._read[folder, name]
        return found

    def file(self, folder: str, name: str) -> Path:
        """`config/<folder>/<name>.yaml`, the project's or the package's."""
        return config_file(self.root, f"{folder}/{name}.yaml")

    def task(self, name: str, location: str) -> Task:
        """`config/tasks/<name>.yaml`."""
        return self._get("tasks", name, Task, location)

    def recipe(self, name: str, location: str) -> Recipe:
        """`config/recipes/<name>.yaml`, laid over the recipe that it names as its `base`."""
        return self._laid_recipe(name, location, ())

    def _laid_recipe(self, name: str, location: str, above: tuple[str, ...]) -> Recipe:
        def values_of(path: Path) -> dict[str, Any]:
            values = read_yaml(path)
            if (base := values.get("base")) is None:
                return values
            if base in (*above, name):
                raise ConfigError(f"{path}: base: {base} is laid over this recipe; name another, or none")
            below = self._laid_recipe(str(base), f"{path}: base", (*above, name))
            return merge(below.model_dump(by_alias=True, exclude_unset=True), values)

        return self._get("recipes", name, Recipe, location, values_of)

    def recipe_files(self, name: str, location: str) -> list[Path]:
        """The file of a recipe, and below it those that it is laid over."""
        base = self.recipe(name, location).base
        file = self.file("recipes", name)
        return [file, *([] if base is None else self.recipe_files(base, str(file)))]

    def network(self, name: str, location: str) -> NetworkParameters:
        """`config/networks/<name>.yaml`."""
        return self._get("networks", name, NetworkParameters, location)

    def taxonomy(self, name: str, location: str) -> Taxonomy:
        """`config/taxonomies/<name>.yaml`."""
        return self._get("taxonomies", name, Taxonomy, location)

    def dataset(self, name: str, location: str) -> DatasetSpec:
        """`config/datasets/<name>.yaml`."""
        said = self._get("datasets", name, DatasetFile, location).model_dump(
            by_alias=True, exclude_unset=True
        )
        file = str(self.file("datasets", name))
        return DatasetSpec.model_validate({**said, "name": name, "file": file})

    def recipes(self) -> list[str]:
        """Names of all recipe files."""
        return config_names(self.root, "recipes")

    def datasets(self) -> list[str]:
        """Names of all dataset files."""
        return config_names(self.root, "datasets")


@dataclass(frozen=True)
class Override:
    """What is laid over the experiments beside their suite and `config.yaml`: by `--config` and by files of settings.

    `choices`: a task, a network or a determinism in place of theirs.
    """

    location: str
    set: Mapping[str, Mapping[str, Any]]
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Config:
    """Validated settings, the suites with their selected experiments, and the library that these point into.

    `settings.set` is what `config.yaml` says; `override` has the rest.
    """

    settings: Settings
    library: Library
    suites: tuple[Suite, ...]
    experiments: Mapping[str, Experiment]
    """The selected ones by name, with their selected seeds, in the order of the suites."""
    location: str
    override: Override

    def selected_suites(self) -> list[Suite]:
        """The suites that a selected experiment belongs to."""
        return [suite for suite in self.suites if not self.experiments.keys().isdisjoint(suite.experiments)]


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `key=value` words (dots go into mappings: `run.device=cpu`) into a nested mapping of texts.

    A value in brackets is YAML, read as strictly as a file; ConfigError names the word.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise ConfigError(f"--config {assignment}: needs key=value")
        nested: Any = text
        if text[:1] in "[{":
            nested = parse_value(text, f"--config {assignment}")
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


def is_suite(values: Mapping[str, Any]) -> bool:
    """Whether a file's content is a suite; other files hold settings alone."""
    return not set(values).isdisjoint(set(SuiteFile.model_fields) - set(Settings.model_fields))


def load_config(
    files: Sequence[str | os.PathLike[str]] = (),
    overrides: Mapping[str, Any] | None = None,
    root: Path | None = None,
) -> Config:
    """Read `config/config.yaml` and `files`, lay `overrides` (from `--config`) over their settings, and validate.

    Suites among `files` take the place of the one that `config.yaml` names; other files hold settings alone. Settings
    are laid over one another in the order given. `root` is the folder that holds `config.yaml` (default `config/` in
    the working directory); a file that it lacks is the package's. All that the suites name is validated too. Raises
    ConfigError with file, key and what to do.
    """
    root = root or DEFAULT_FILE.parent
    base = config_file(root, DEFAULT_FILE.name)
    chosen = _undotted(overrides or {})
    override = validated(Overrides, chosen, "--config")
    contents = {base: read_yaml(base)} if base.is_file() else {}
    paths = [given_file(path) for path in files]
    given = {path: read_yaml(path) for path in paths if path.resolve() != base.resolve()}
    if not any(map(is_suite, given.values())):
        path = _default_suite(root, [*contents.values(), *given.values(), chosen])
        contents[path] = read_yaml(path)
    contents |= given
    suites = [
        _with_determinism(read_suite(path, values), _determinism(base, contents))
        for path, values in contents.items()
        if path != base and is_suite(values)
    ]
    _check_together(suites)
    library = Library(root)
    for suite in suites:
        for experiment in suite.experiments.values():
            _check_names(library, experiment)
    location = " + ".join(map(str, contents)) + (" + --config" if chosen else "")
    experiments = selected(suites, override.only, override.seeds)
    settings, laid_over = _settings(base, contents, chosen, location)
    choices = {"determinism": settings.determinism, **_other_choices(library, override)}
    over = Override(f"{location}: set", laid_over, choices)
    return Config(settings, library, tuple(suites), experiments, location, over)


def _other_choices(library: Library, override: Overrides) -> dict[str, str]:
    """The task and the network that stand in place of the experiments' own; ConfigError for one that is not there."""
    for name, read in ((override.task, library.task), (override.network, library.network)):
        if name is not None:
            read(name, "--config")
    return override.model_dump(include={"task", "network"}, exclude_none=True)


def _with_determinism(suite: Suite, determinism: Determinism) -> Suite:
    """The suite whose experiments know what holds for them unless something is laid over."""
    known = {name: replace(one, determinism=determinism) for name, one in suite.experiments.items()}
    return replace(suite, experiments=known)


def _determinism(base: Path, contents: Mapping[Path, Mapping[str, Any]]) -> Determinism:
    """What `config.yaml` and the suites say, the last of them that does."""
    speaking = [values for path, values in contents.items() if path == base or is_suite(values)]
    said = [values["determinism"] for values in speaking if values.get("determinism")]
    return said[-1] if said else Settings().determinism


def suites_in(root: Path) -> Iterator[Suite]:
    """Every suite in the folder `root`, and of the package; one with a mistake in it is passed over.

    Its mistake is told when it is given.
    """
    for path in (config_file(root, f"{name}.yaml") for name in config_names(root, "")):
        with suppress(ConfigError):
            values = read_yaml(path)
            if is_suite(values):
                yield read_suite(path, values)


def given_file(path: str | os.PathLike[str]) -> Path:
    """The file that a command line names: where it says, else the package's of that place.

    ConfigError where it is not there, but one of its name in `config/`.
    """
    root, named = DEFAULT_FILE.parent, Path(path)
    if named.is_relative_to(root):
        return config_file(root, named.relative_to(root))
    there = root / named.name
    if not named.exists() and config_file(root, named.name).is_file():
        raise ConfigError(f"{named}: no such file; did you mean {there}?")
    return named


def _default_suite(root: Path, settings: Sequence[Mapping[str, Any]]) -> Path:
    """The file of the suite that the settings name, the last of them that does."""
    base = root / DEFAULT_FILE.name
    names = [values["suite"] for values in settings if values.get("suite") is not None]
    if not names:
        raise ConfigError(
            f"{base}: suite: missing; it names the suite that runs, or name one with --configfile; run from the "
            "folder that holds config/"
        )
    path = config_file(root, f"{names[-1]}.yaml")
    if not path.is_file():
        others = [suite.name for suite in suites_in(root)]
        raise ConfigError(f"{base}: suite: no {path}; {nearest(names[-1], others)}")
    return path


def _settings(
    base: Path, contents: Mapping[Path, Mapping[str, Any]], chosen: Mapping[str, Any], location: str
) -> tuple[Settings, Mapping[str, Mapping[str, Any]]]:
    """The files' settings laid over one another, what was chosen over them all; and the `set` laid over `config.yaml`'s.

    ConfigError where two suites want different results, unless one of these is chosen.
    """
    merged: dict[str, Any] = {}
    over: dict[str, Any] = {}
    wanted: dict[str, str] = {}
    for path, values in contents.items():
        keys = set(Settings.model_fields)
        if path != base and is_suite(values):
            keys = {"determinism", "run"}
            wanted[str(path)] = values.get("determinism", "none")
        else:
            validated(Settings, values, str(path))
        if path != base and "set" in keys:
            over = merge(over, {"set": values.get("set") or {}})
            keys -= {"set"}
        merged = merge(merged, {key: value for key, value in values.items() if key in keys})
    if len(set(wanted.values())) > 1 and "determinism" not in chosen:
        shown = ", ".join(f"{file} {value}" for file, value in wanted.items())
        raise ConfigError(f"determinism: the suites say different things ({shown}); give it with --config")
    own = {key: value for key, value in chosen.items() if key in Settings.model_fields}
    over = merge(over, {"set": own.pop("set", None) or {}})
    return validated(Settings, merge(merged, own), location), validated(Settings, over, location).set


def _check_together(suites: Sequence[Suite]) -> None:
    """ConfigError where two suites have one name, or one experiment."""
    files: dict[str, str] = {}
    locations: dict[str, str] = {}
    for suite in suites:
        if suite.name in files:
            raise ConfigError(f"{suite.file}: {files[suite.name]} is a suite of that name too; rename one")
        files[suite.name] = suite.file
        for name, experiment in suite.experiments.items():
            if name in locations:
                raise ConfigError(
                    f"{experiment.location}: makes an experiment {name}, and so does {locations[name]}; rename one"
                )
            locations[name] = experiment.location


def _check_names(library: Library, experiment: Experiment) -> None:
    """Read all that an experiment names."""
    task = library.task(experiment.task, experiment.place("task"))
    library.recipe(experiment.recipe, experiment.place("recipe"))
    library.network(experiment.network, experiment.place("network"))
    library.taxonomy(task.taxonomy, f"{library.file('tasks', experiment.task)}: taxonomy")
