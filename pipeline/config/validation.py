"""Turning pydantic's complaints into errors that name file, key, what was found, what it takes, the nearest name."""

import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.artifacts.errors import ConfigError
from pipeline.schema.names import nearest, similar

Model = TypeVar("Model", bound=BaseModel)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, tuple, dict, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in _models_in(part)]
    return []


def _is_variant(model: type[BaseModel], tag: Any) -> bool:
    """Whether a field of the class is a literal of this value: the one that tells it from others of a union."""
    literals = (field.annotation for field in model.model_fields.values())
    return any(tag in typing.get_args(one) for one in literals if typing.get_origin(one) is typing.Literal)


def _models_at(model: type[BaseModel], path: tuple[Any, ...]) -> tuple[list[type[BaseModel]], str | None]:
    """The classes that may hold the key at the end of `path`, and the variant that the path names last."""
    candidates, variant = [model], None
    for part in path[:-1]:
        following = [
            found
            for candidate in candidates
            for name, field in candidate.model_fields.items()
            if part in (name, field.alias)
            for found in _models_in(field.annotation)
        ]
        variants = [] if following else [one for one in candidates if _is_variant(one, part)]
        variant = str(part) if variants else None
        candidates = following or variants or candidates
    return candidates, variant


def _names_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Field names that are valid where `path` (the path of an unknown key) points to."""
    candidates, _ = _models_at(model, path)
    return sorted(
        {field.alias or name for candidate in candidates for name, field in candidate.model_fields.items()}
    )


def _complaint(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        variant = _models_at(model, error["loc"])[1]
        whose = f" of `{variant}`" if variant else ""
        return f"unknown key{whose}; {nearest(str(error['loc'][-1]), _names_at(model, error['loc']))}"
    if error["type"] in ("missing", "union_tag_not_found"):
        return "missing; it must be given"
    if error["type"] == "union_tag_invalid":
        told = error["ctx"]
        return f"found {told['tag']!r}; {nearest(told['tag'], _quoted(told['expected_tags']))}"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if error["type"] == "value_error":
        return message
    expected = error.get("ctx", {}).get("expected", "")
    hint = ""
    if isinstance(error["input"], str) and "'" in expected:
        hint = f" ({nearest(error['input'], _quoted(expected))})"
    needed = re.sub(r"^\w+ should ", "needs to ", message).partition(", unable to")[0]
    return f"found {error['input']!r}; {needed}{hint}"


def _quoted(text: str) -> list[str]:
    """The names in pydantic's `'a', 'b' or 'c'`."""
    return [part.strip("'") for part in text.replace(" or ", ", ").split(", ")]


KeyPath = tuple[int | str, ...]
"""The keys and list positions that lead to a value."""


def _path_of(error: Any) -> KeyPath:
    """Where the mistake is; one in the key that tells which of several tables is meant lies in that key."""
    path: KeyPath = error["loc"]
    return (
        (*path, error["ctx"]["discriminator"].strip("'")) if error["type"].startswith("union_tag") else path
    )


def _was_meant(model: type[BaseModel], missing: KeyPath, unknown: Sequence[KeyPath]) -> bool:
    """Whether one of the unknown keys is a missing one, misspelt."""
    return any(
        path[:-1] == missing[:-1] and similar(str(path[-1]), _names_at(model, path)) == missing[-1]
        for path in unknown
    )


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
        errors = error.errors(include_url=False)
        unknown = [item["loc"] for item in errors if item["type"] == "extra_forbidden"]
        for item in errors:
            path = _path_of(item)
            if item["type"] == "missing" and _was_meant(model, path, unknown):
                continue  # one mistake, one complaint
            place = f"{location}: {dotted(path)}" if isinstance(location, str) else location(path)
            lines.append(f"{place}: {_complaint(model, item)}")
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None
