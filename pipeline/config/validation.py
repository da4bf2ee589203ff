"""Turning pydantic's complaints into errors that name file, key, what was found, what it takes, the nearest name."""

import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.artifacts.errors import ConfigError
from pipeline.schema.names import nearest

Model = TypeVar("Model", bound=BaseModel)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, tuple, dict, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in _models_in(part)]
    return []


def _names_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Field names that are valid where `path` (the path of an unknown key) points to."""
    candidates = [model]
    for part in path[:-1]:
        following = [
            found
            for candidate in candidates
            for name, field in candidate.model_fields.items()
            if part in (name, field.alias)
            for found in _models_in(field.annotation)
        ]
        candidates = following or candidates
    return sorted(
        {field.alias or name for candidate in candidates for name, field in candidate.model_fields.items()}
    )


def _complaint(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key; {nearest(str(error['loc'][-1]), _names_at(model, error['loc']))}"
    if error["type"] == "missing":
        return "missing; it must be given"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if error["type"] == "value_error":
        return message
    expected = error.get("ctx", {}).get("expected", "")
    hint = ""
    if isinstance(error["input"], str) and "'" in expected:
        hint = f" ({nearest(error['input'], [part.strip(chr(39)) for part in expected.replace(' or ', ', ').split(', ')])})"
    return f"found {error['input']!r}; {message}{hint}"


KeyPath = tuple[int | str, ...]
"""The keys and list positions that lead to a value."""


def dotted(path: KeyPath) -> str:
    """Return the location as people write it, `train.optimiser.lr`."""
    return ".".join(map(str, path)) or "(top)"


_KNOWN: dict[tuple[type[BaseModel], str], Any] = {}


def validated_once(model: type[Model], values: Any, location: str | Callable[[KeyPath], str]) -> Model:
    """As `validated`, with one object for equal values, which the experiments of a sweep have many of."""
    key = model, repr(values)
    if key not in _KNOWN:
        _KNOWN[key] = validated(model, values, location)
    known: Model = _KNOWN[key]
    return known


def validated(model: type[Model], values: Any, location: str | Callable[[KeyPath], str]) -> Model:
    """Validate `values` (a mapping) as `model`; one ConfigError with a line for every complaint.

    `location`: the file that holds the values, or what names the place of each location.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False):
            place = (
                f"{location}: {dotted(item['loc'])}" if isinstance(location, str) else location(item["loc"])
            )
            lines.append(f"{place}: {_complaint(model, item)}")
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None
