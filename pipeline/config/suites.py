"""From a suite file to its experiments: shared block and own keys joined, grids and sweeps multiplied out."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import (
    Determinism,
    ExperimentEntry,
    LabelledSubset,
    Settings,
    SuiteFile,
    SweptKeys,
)
from pipeline.config.validation import KeyPath, dotted, nearest, validated
from pipeline.config.yaml_files import merge
from pipeline.stages.results import PAGE

GRIDS = ("task", "network", "recipe")
NAME = r"[a-z0-9][a-z0-9._-]{0,119}"


@dataclass(frozen=True)
class SetLayer:
    """Parameters by stage kind or stage name, and the place where they are written."""

    location: str
    values: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Experiment:
    """Task x recipe x network, over seeds.

    `own` layers go over `shared`, the later ones over the former, `over` above the settings' `set`. `given` has the
    place of each key that the experiment gives itself; what only the suite gives (`shared` too) holds where the
    recipe has a use for it.
    """

    name: str
    file: str
    location: str
    task: str
    recipe: str
    network: str
    seeds: tuple[int, ...]
    rounds: int | None
    labelled: LabelledSubset | None
    shared: SetLayer
    own: tuple[SetLayer, ...]
    given: Mapping[str, str]
    determinism: Determinism = "exact"
    over: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    swept: Mapping[str, Any] = field(default_factory=dict)
    """Values of the sweep's parameters by their dotted paths."""

    @property
    def plain_name(self) -> str:
        """The name in the suite; what is laid over an experiment stands behind it, after a `+`."""
        return self.name.partition("+")[0]

    def place(self, key: str) -> str:
        """The place of a key, for errors: in the experiment itself or at the top of its suite."""
        return self.given.get(key, f"{self.file}: {key}")

    @property
    def layers(self) -> tuple[SetLayer, ...]:
        """All that is laid over the recipe, lowest first."""
        return (self.shared, *self.own)


@dataclass(frozen=True)
class Suite:
    """A suite's experiments by name, in the order of its file."""

    name: str
    file: str
    shared: SetLayer
    experiments: Mapping[str, Experiment]


def read_suite(path: Path, values: Mapping[str, Any]) -> Suite:
    """Validate a suite file's content and list its experiments; ConfigError names file and key."""
    if not re.fullmatch(NAME, path.stem, re.IGNORECASE):
        raise ConfigError(
            f"{path}: a folder of the report has the suite's name; needs letters, digits, dots, _ and -"
        )
    if path.stem.lower() == PAGE:  # some file systems take capitals for the same
        raise ConfigError(
            f"{path}: {path.stem} is the page that links to all suites, and a folder of the report cannot have its "
            "name; rename the file"
        )
    if "experiments" not in values and set(SuiteFile.model_fields).issuperset(values):
        named = ", ".join(sorted(set(values) - set(Settings.model_fields)))
        raise ConfigError(
            f"{path}: experiments: missing; {named} make a file a suite: give its experiments, or, for settings over other "
            f"suites, leave {named} out (`--config` takes a task and a network)"
        )
    content = validated(SuiteFile, values, str(path))
    experiments: dict[str, Experiment] = {}
    for key in content.experiments:
        for experiment in _members(_Source(content, str(path), key)):
            if experiment.name in experiments:
                raise ConfigError(
                    f"{experiment.location}: makes an experiment {experiment.name}, and so does "
                    f"{experiments[experiment.name].location}; rename one"
                )
            experiments[experiment.name] = experiment
    return Suite(path.stem, str(path), SetLayer(f"{path}: set", content.set), experiments)


@dataclass(frozen=True)
class _Source:
    """One entry of a suite file, and the file."""

    suite: SuiteFile
    file: str
    key: str

    @property
    def entry(self) -> ExperimentEntry:
        return self.suite.experiments[self.key]

    @property
    def location(self) -> str:
        return f"{self.file}: experiments.{self.key}"

    def value(self, key: str) -> Any:
        """The entry's own value of a key, else the shared one."""
        return getattr(self.entry if key in self.entry.model_fields_set else self.suite, key)


@dataclass(frozen=True)
class _Axis:
    """What an entry varies: `path` is `task`, `network` or `recipe`, or that of a swept parameter."""

    leaf: str
    path: tuple[str, ...]
    values: tuple[Any, ...]

    def suffix(self, value: Any) -> str:
        """What a member's name ends with, unless the entry's name says `{leaf}`."""
        if self.path[0] in GRIDS:
            return f"-{value}" if len(self.values) > 1 else ""
        return f"-{self.leaf}-{_word(value)}"

    def nested(self, value: Any) -> dict[str, Any]:
        """The value below its path."""
        for part in reversed(self.path):
            value = {part: value}
        return dict(value)


def _members(source: _Source) -> Iterator[Experiment]:
    """The experiments of one entry: one for each combination of its grids' names and its sweeps' values."""
    axes = [*_grids(source), *_sweeps(source)]
    for values in itertools.product(*(axis.values for axis in axes)):
        chosen = list(zip(axes, values, strict=True))
        yield _member(source, _name(source, chosen), chosen)


def _grids(source: _Source) -> Iterator[_Axis]:
    for key in GRIDS:
        names = source.value(key)
        if names is None:
            raise ConfigError(
                f"{source.location}.{key}: missing; give it here, or at the top of the file for all"
            )
        yield _Axis(key, (key,), names)


def _sweeps(source: _Source) -> Iterator[_Axis]:
    paths = {text: tuple(text.split(".")) for text in source.entry.sweep}
    leaves = [path[-1] for path in paths.values()]
    for text, path in paths.items():
        if text != "rounds" and (len(path) < 2 or not all(path)):
            raise ConfigError(
                f"{source.location}.sweep.{text}: needs a stage or kind and its parameter, such as split.lambda; for "
                "a grid give a list under task, network or recipe"
            )
        leaf = path[-1] if leaves.count(path[-1]) == 1 else "-".join(path)
        yield _Axis(leaf, path, tuple(source.entry.sweep[text]))


def _word(value: Any) -> str:
    """A value as a part of a folder's name."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-")


def _name(source: _Source, chosen: list[tuple[_Axis, Any]]) -> str:
    """A member's name: each value in its place `{leaf}`, or at the end."""
    leaves = [axis.leaf for axis, _ in chosen]
    for mark in re.findall(r"\{([^{}]*)\}", source.key):
        if mark not in leaves:
            raise ConfigError(f"{source.location}: {{{mark}}} is not swept here; {nearest(mark, leaves)}")
    name = source.key
    for axis, value in chosen:
        mark = f"{{{axis.leaf}}}"
        name = name.replace(mark, _word(value)) if mark in source.key else name + axis.suffix(value)
    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"{source.location}: makes the name {name!r}; needs up to 120 lower-case letters, digits, dots, _ and -, "
            "because a folder has this name"
        )
    return name


def _member(source: _Source, name: str, chosen: list[tuple[_Axis, Any]]) -> Experiment:
    given = {key: f"{source.location}.{key}" for key in source.entry.model_fields_set}
    keys = {key: source.value(key) for key in SweptKeys.model_fields}
    swept: dict[str, Any] = {}
    for axis, value in chosen:
        if axis.path[0] in keys:
            keys = merge(keys, axis.nested(value))
            given[axis.path[0]] = f"{source.location}.sweep.{dotted(axis.path)}"
        elif axis.path[0] not in GRIDS:
            swept = merge(swept, axis.nested(value))

    def place(path: KeyPath) -> str:
        key = str(path[0])
        if ".sweep." in given.get(key, ""):
            return given[key]
        return ".".join(map(str, (given.get(key, f"{source.file}: {key}"), *path[1:])))

    checked = validated(SweptKeys, keys, place)
    names = {axis.leaf: value for axis, value in chosen if axis.path[0] in GRIDS}
    return Experiment(
        name=name,
        swept={dotted(axis.path): value for axis, value in chosen if axis.path[0] not in GRIDS},
        file=source.file,
        location=source.location,
        seeds=source.value("seeds") or (0,),
        rounds=checked.rounds,
        labelled=checked.labelled,
        shared=SetLayer(f"{source.file}: set", source.suite.set),
        own=(
            SetLayer(f"{source.location}.set", source.entry.set),
            SetLayer(f"{source.location}.sweep", swept),
        ),
        given=given,
        **names,
    )
