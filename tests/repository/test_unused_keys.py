"""Every key that a YAML file may hold is used by a shipped or documented one, and so is every value of a choice.

A key is used where it says something else than its default; a value also where it is the default.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from documented import documented
from pydantic import BaseModel
from shipped import CONFIG, EXPERIMENTS, LIBRARY, NOTHING, SUITES, shipped_names

from pipeline.config.load import load_config
from pipeline.config.models import Recipe, SuiteFile, Task
from pipeline.config.suites import Experiment, read_suite
from pipeline.config.yaml_files import merge, parse_yaml, read_yaml
from pipeline.datasets.spec import DatasetFile
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.networks.parameters import NetworkParameters
from pipeline.plan.recipes import AROUND, OWN_KINDS, expand_recipe
from pipeline.stages.kinds import KINDS

FOLDERS: dict[str, type[BaseModel]] = {
    "datasets": DatasetFile,
    "networks": NetworkParameters,
    "recipes": Recipe,
    "tasks": Task,
    "taxonomies": Taxonomy,
}
"""By folder below `config/`: the class that reads a file there."""

READ = (SuiteFile, *FOLDERS.values(), *(KINDS[kind].parameters for kind in (*OWN_KINDS, *AROUND)))
"""The classes that YAML files are read by, from the top."""


def shipped() -> Iterator[BaseModel]:
    """What every shipped or documented file says, and the parameters of every stage of an experiment."""
    for folder, model in FOLDERS.items():
        for name in shipped_names(CONFIG / folder):
            yield (
                LIBRARY.recipe(name, "test")
                if model is Recipe
                else model.model_validate(read_yaml(CONFIG / folder / f"{name}.yaml"))
            )
    # A suite may say all that `config.yaml` says but which suite runs.
    said = {key: value for key, value in read_yaml(CONFIG / "config.yaml").items() if key != "suite"}
    yield SuiteFile.model_validate({**said, "experiments": {"bare": {}}})
    experiments = [*EXPERIMENTS.values(), *of_every_recipe()]
    for name in SUITES:
        yield SuiteFile.model_validate(read_yaml(CONFIG / f"{name}.yaml"))
        yield load_config([CONFIG / f"{name}.yaml"], root=CONFIG).settings
    for name, text in documented().items():
        model = FOLDERS.get(Path(name).parent.name)
        yield (model or SuiteFile).model_validate(parse_yaml(text, name))
        if model is None:
            experiments += read_suite(Path(name), parse_yaml(text, name)).experiments.values()
    for experiment in experiments:
        yield from parameters(LIBRARY.recipe(experiment.recipe, "test"), experiment)


def of_every_recipe() -> Iterator[Experiment]:
    """An experiment for each shipped recipe, also for one that no suite names."""
    for name in shipped_names(CONFIG / "recipes"):
        text = {"task": "streets", "recipe": name, "network": "small", "set": {"train": {"steps": 1000}}}
        yield from read_suite(CONFIG / "page.yaml", {"experiments": {"bare": text}}).experiments.values()


def parameters(recipe: Recipe, experiment: Experiment) -> Iterator[BaseModel]:
    """The parameters of every stage of an experiment."""
    yield from (entry.parameters for entry in expand_recipe(recipe, experiment, NOTHING, "recipe"))
    for kind in AROUND:
        given = recipe.defaults.get(kind, {})
        for layer in experiment.layers:
            given = merge(given, dict(layer.values.get(kind, {})))
        yield KINDS[kind].parameters.model_validate(given)


def inner(annotation: Any) -> list[type[BaseModel]]:
    """The classes within an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in inner(part)]


def choices(annotation: Any) -> list[Any]:
    """The values that an annotation lists."""
    if annotation is bool:
        return [False, True]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in choices(part)]


def declaring(model: type[BaseModel], name: str) -> str:
    """Name of the class in which a key is declared first: a key of several classes counts once."""
    return next(
        base.__name__ for base in reversed(model.__mro__) if name in vars(base).get("__annotations__", {})
    )


def declared(models: Iterable[type[BaseModel]]) -> dict[tuple[str, str], list[Any]]:
    """Every key, by class and name, with the values that it may have where these are listed."""
    found: dict[tuple[str, str], list[Any]] = {}
    waiting, seen = list(models), set()
    while waiting:
        model = waiting.pop()
        seen.add(model)
        for name, field in model.model_fields.items():
            found[declaring(model, name), name] = choices(field.annotation)
            waiting += [one for one in inner(field.annotation) if one not in seen]
    return found


def within(value: Any) -> Iterator[BaseModel]:
    """An object and all objects inside it."""
    if isinstance(value, BaseModel):
        yield value
        yield from (one for name in type(value).model_fields for one in within(getattr(value, name)))
    elif isinstance(value, dict | list | tuple):
        yield from (
            one for item in (value.values() if isinstance(value, dict) else value) for one in within(item)
        )


def leaves(value: Any) -> Iterator[Any]:
    """The plain values inside a value, keys of mappings too."""
    if isinstance(value, dict | list | tuple):
        yield from (leaf for item in value for leaf in leaves(item))
    if isinstance(value, dict):
        yield from (leaf for item in value.values() for leaf in leaves(item))
    elif not isinstance(value, list | tuple | BaseModel):
        yield value


def unused(models: Iterable[type[BaseModel]], objects: Iterable[BaseModel]) -> list[str]:
    """Keys that no object gives, and values of choices that none has."""
    keys = declared(models)
    given: set[tuple[str, str]] = set()
    values: dict[tuple[str, str], list[Any]] = {key: [] for key in keys}
    for one in (part for top in objects for part in within(top)):
        for name, field in type(one).model_fields.items():
            key, value = (declaring(type(one), name), name), getattr(one, name)
            if value != field.default:
                given.add(key)
            values.setdefault(key, []).extend((type(leaf), leaf) for leaf in leaves(value))
    lines = [f"{owner}.{name}: set nowhere" for owner, name in keys if (owner, name) not in given]
    lines += [
        f"{owner}.{name}: {choice!r} used nowhere"
        for (owner, name), listed in keys.items()
        for choice in listed
        if (type(choice), choice) not in values[owner, name]
    ]
    return sorted(lines)


def test_every_key_and_every_value_is_used():
    assert unused(READ, shipped()) == []


class Pen(BaseModel):
    width: float = 1.0
    kind: Literal["plain", "odd"] = "plain"


class Drawing(BaseModel):
    size: int
    pens: dict[str, Pen] = {}


NOWHERE = ["Drawing.pens: set nowhere", "Pen.kind: 'odd' used nowhere", "Pen.kind: 'plain' used nowhere"]


@pytest.mark.parametrize(
    ("objects", "lines"),
    [
        ([Drawing(size=1)], [*NOWHERE, "Pen.kind: set nowhere", "Pen.width: set nowhere"]),
        ([Drawing(size=1, pens={"a": Pen(width=0.5)})], [NOWHERE[1], "Pen.kind: set nowhere"]),
        ([Drawing(size=1, pens={"a": Pen(width=0.5), "b": Pen(kind="odd")})], []),
    ],
)
def test_the_check_sees_what_is_not_used(objects, lines):
    assert unused([Drawing], objects) == lines
