"""From a recipe to stage entries: rounds unrolled, parameters merged, references checked by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import Experiment, Recipe
from pipeline.config.validation import validated
from pipeline.config.yaml_files import merge
from pipeline.methods.parameters import OBJECTIVES
from pipeline.schema.names import nearest
from pipeline.stages.kinds import KINDS

DOMAIN_WORDS = ("task.source", "task.target", "task.target_labels", "task.labelled")
"""What a stage entry may name besides other stages: the task's own data."""

AROUND = ("select", "evaluate")
"""Kinds that the plan adds around every training stage; their parameters are set by kind only."""

OWN_KINDS = tuple(kind for kind in KINDS if kind not in ("prepare", "suggest", *AROUND))
"""Kinds that a recipe's stages may have; `prepare` follows from the task, `suggest` is a command."""


@dataclass(frozen=True)
class Entry:
    """One stage of a recipe with its references (words, unresolved) and validated parameters."""

    name: str
    kind: str
    references: Mapping[str, str]
    parameters: BaseModel
    round: int | None


def _unrolled(recipe: Recipe, count: int | None) -> list[tuple[str, dict[str, Any], int | None]]:
    """The recipe's raw stages in order, `previous` and same-round names replaced by unique stage names."""
    raw: list[tuple[str, dict[str, Any], int | None]] = [
        (name, dict(entry), None) for name, entry in recipe.stages.items()
    ]
    if recipe.rounds is None:
        return raw
    previous = recipe.rounds.start
    for number in range(recipe.rounds.count if count is None else count):
        own = {name: f"{name}{number + 1}" for name in recipe.rounds.stages}
        trained = previous
        for name, entry in recipe.rounds.stages.items():
            kind = entry.get("kind", "train")
            references = KINDS[kind].references if kind in KINDS else ()
            renamed = {
                key: _rename(value, own, previous) if key in references and isinstance(value, str) else value
                for key, value in entry.items()
            }
            raw.append((own[name], renamed, number))
            if kind == "train":
                trained = own[name]
        previous = trained
    return raw


def _rename(reference: str, own: Mapping[str, str], previous: str) -> str:
    head, dot, part = reference.partition(".")
    if head == "previous":
        return previous + dot + part
    return own.get(head, head) + dot + part


def _parameters_for(
    name: str, block: str | None, kind: str, layers: list[Mapping[str, Any]], own: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge parameters for one stage: kind-wide defaults, the recipe's entry, then `set:` by kind and by name."""
    values: dict[str, Any] = merge(dict(layers[0].get(kind, {})), dict(own))
    for layer in layers[1:]:
        for key in (kind, block, name):
            if key is not None and key in layer:
                values = merge(values, dict(layer[key]))
    return values


def _numbered(kind: str, values: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Tell a stage of a rounds block its round, where its kind or its method asks for it."""
    if kind == "train":
        method = OBJECTIVES.get(str(values.get("method")))
        if method is None or "round" not in method.model_fields:
            return dict(values)
        return {**values, "objective": {**(values.get("objective") or {}), "round": number}}
    return {**values, "round": number} if "round" in KINDS[kind].parameters.model_fields else dict(values)


def _check_unique(origin: str, names: list[str]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise ConfigError(
            f"{origin}: two stages are called {repeated!r} once the rounds are numbered; rename one of them"
        )


def settable(recipe: Recipe, count: int | None) -> set[str]:
    """The words that a `set:` may name for this recipe: its stages, a round's stages, and their kinds."""
    raw = _unrolled(recipe, count)
    blocks = recipe.rounds.stages if recipe.rounds else {}
    kinds = {str(entry.get("kind", "train")) for entry in (*recipe.stages.values(), *blocks.values())}
    return {name for name, _, _ in raw} | set(blocks) | kinds | set(AROUND)


def check_set_keys(origin: str, keys: Mapping[str, Any], valid: set[str]) -> None:
    """ConfigError for a word that would be laid over nothing."""
    for key in keys:
        if key in KINDS and key not in valid:
            raise ConfigError(
                f"{origin}: set.{key}: no stage of kind {key} can be set here"
                + ("; sizes and the like are keys of the task" if key == "prepare" else "; remove it")
            )
        if key not in valid:
            raise ConfigError(
                f"{origin}: set.{key}: no stage and no kind of that name; {nearest(key, valid)}"
            )


def expand_recipe(
    recipe: Recipe,
    experiment: Experiment,
    extra: Mapping[str, Mapping[str, Any]],
    recipe_origin: str,
    origin: str,
) -> list[Entry]:
    """List a recipe's stages in order with validated parameters.

    Precedence, lowest first: recipe `defaults` by kind, the stage's own entry, the experiment's `set`, the
    settings' `set` (`extra`); within a `set`, a kind gives way to a stage name. Raises ConfigError.
    """
    if experiment.rounds is not None and recipe.rounds is None:
        raise ConfigError(f"{origin}: rounds: recipe {experiment.recipe} has no rounds; remove it")
    raw = _unrolled(recipe, experiment.rounds)
    _check_unique(recipe_origin, [name for name, _, _ in raw])
    valid = settable(recipe, experiment.rounds)
    check_set_keys(origin, experiment.set, valid)
    check_set_keys(f"{recipe_origin}: defaults", recipe.defaults, valid & set(KINDS))
    entries: list[Entry] = []
    for name, own, number in raw:
        where = f"{recipe_origin}: stages.{name}"
        kind = own.pop("kind", "train")
        if kind not in OWN_KINDS:
            raise ConfigError(f"{where}.kind: found {kind!r}; {nearest(str(kind), OWN_KINDS)}")
        if name in KINDS and name != kind:
            raise ConfigError(
                f"{where}: a stage of kind {kind} may not be called like kind {name}; rename it"
            )
        references = {key: own.pop(key) for key in KINDS[kind].references if key in own}
        for key, word in references.items():
            if not isinstance(word, str):
                raise ConfigError(
                    f"{where}.{key}: found {word!r}; needs the name of a stage or of the task's data"
                )
        block = name.removesuffix(str(number + 1)) if number is not None else None
        layers: list[Mapping[str, Any]] = [recipe.defaults, experiment.set, extra]
        values = _parameters_for(name, block, kind, layers, own)
        if number is not None:
            values = _numbered(kind, values, number)
        shown = f"{where} (with {origin}: set)" if experiment.set or extra else where
        entries.append(
            Entry(name, kind, references, validated(KINDS[kind].parameters, values, shown), number)
        )
    return entries
