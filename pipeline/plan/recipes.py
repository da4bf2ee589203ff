"""From a recipe to stage entries: rounds unrolled, parameters merged, references checked by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import Recipe
from pipeline.config.suites import Experiment, SetLayer
from pipeline.config.validation import KeyPath, dotted, validated, validated_once
from pipeline.config.yaml_files import merge
from pipeline.methods.parameters import Objective
from pipeline.schema.names import nearest
from pipeline.stages.kinds import KINDS

DOMAIN_WORDS = ("task.source", "task.target", "task.target_labels", "task.labelled")
"""What a stage entry may name besides other stages: the task's own data."""

AROUND = tuple(name for name, kind in KINDS.items() if kind.planned_by == "figures")
"""Kinds that the plan adds around every training stage; their parameters are set by kind only."""

OWN_KINDS = tuple(name for name, kind in KINDS.items() if kind.planned_by == "recipe")
"""Kinds that a recipe's stages may have."""

DEFAULT_KIND = "train"
"""Kind of an entry that names none."""


@dataclass(frozen=True)
class Entry:
    """One stage of a recipe with its references (words, unresolved) and validated parameters."""

    name: str
    kind: str
    references: Mapping[str, str]
    parameters: BaseModel
    round: int | None


class _OnlyObjective(BaseModel):
    objective: Objective


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
            kind = KINDS.get(str(entry.get("kind", DEFAULT_KIND)))
            keys = kind.keys if kind else ()
            renamed = {
                key: _rename(value, own, previous) if key in keys and isinstance(value, str) else value
                for key, value in entry.items()
            }
            raw.append((own[name], renamed, number))
            if kind and kind.gives == "model":
                trained = own[name]
        previous = trained
    return raw


def _rename(reference: str, own: Mapping[str, str], previous: str) -> str:
    head, dot, part = reference.partition(".")
    if head == "previous":
        return previous + dot + part
    return own.get(head, head) + dot + part


def _parameters_for(
    words: Sequence[str], defaults: Mapping[str, Any], own: Mapping[str, Any], layers: Sequence[SetLayer]
) -> dict[str, Any]:
    """Merge parameters for one stage: kind-wide defaults, the recipe's entry, then each layer by `words`."""
    values: dict[str, Any] = merge(dict(defaults), dict(own))
    for layer in layers:
        for word in words:
            values = merge(values, dict(layer.values.get(word, {})))
    return values


def place_of(words: Sequence[str], layers: Sequence[SetLayer], location: str) -> Callable[[KeyPath], str]:
    """Return what names the place of a stage's parameter: the layer that gives it last, or `location`."""

    def place(path: KeyPath) -> str:
        for layer in reversed(layers):
            for word in reversed(words):
                if path and (keys := _keys_to(layer.values.get(word, {}), path)):
                    return f"{layer.location}.{word}.{dotted(keys)}"
        return f"{location}: {dotted(path)}" if path else location

    return place


def _keys_to(values: Any, path: KeyPath) -> KeyPath:
    """The keys of a mapping that `path` leads along, without the names of variants in it; () if it has them not."""
    keys: KeyPath = ()
    for number, part in enumerate(path):
        if not isinstance(values, Mapping):
            return keys + path[number:]
        if part in values:
            values, keys = values[part], (*keys, part)
        elif number == len(path) - 1:
            return ()
    return keys


def _check_unique(location: str, names: list[str]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise ConfigError(
            f"{location}: two stages are called {repeated!r} once the rounds are numbered; rename one of them"
        )


def settable(recipe: Recipe, count: int | None) -> set[str]:
    """The words that a `set:` may name for this recipe: its stages, a round's stages, and their kinds."""
    raw = _unrolled(recipe, count)
    blocks = recipe.rounds.stages if recipe.rounds else {}
    kinds = {str(entry.get("kind", DEFAULT_KIND)) for entry in (*recipe.stages.values(), *blocks.values())}
    return {name for name, _, _ in raw} | set(blocks) | kinds | set(AROUND)


def check_set_keys(layer: SetLayer, valid: set[str]) -> None:
    """ConfigError for a word of a layer that would be laid over nothing."""
    for key in layer.values:
        if key in KINDS and key not in valid:
            raise ConfigError(
                f"{layer.location}.{key}: no stage of kind {key} can be set here"
                + (
                    "; sizes and the like are keys of the task"
                    if KINDS[key].planned_by == "task"
                    else "; remove it"
                )
            )
        if key not in valid:
            raise ConfigError(
                f"{layer.location}.{key}: no stage and no kind of that name; {nearest(key, valid)}"
            )


def reads_labelled(recipe: Recipe, location: str) -> bool:
    """Whether a stage of the recipe reads the task's labelled target images; ConfigError for a wrong stage."""
    for name, own, _ in _unrolled(recipe, None):
        kind = own.pop("kind", DEFAULT_KIND)
        if "task.labelled" in own.values():
            return True
        if kind != DEFAULT_KIND or "labelled" in own:
            continue
        values = {key: value for key, value in own.items() if key not in KINDS[kind].keys}
        values = merge(dict(recipe.defaults.get(kind, {})), values)
        # Only the objective: what else a training needs, such as its steps, may stand in suites alone.
        objective = {"method": values.get("method"), **values.get("objective", {})}
        read = validated(_OnlyObjective, {"objective": objective}, f"{location}: stages.{name}")
        if "labelled" in read.objective.domains():
            return True
    return False


def expand_recipe(
    recipe: Recipe, experiment: Experiment, extra: SetLayer, recipe_location: str
) -> list[Entry]:
    """List a recipe's stages in order with validated parameters.

    Precedence, lowest first: recipe `defaults` by kind, the stage's own entry, the suite's `set`, the experiment's,
    its sweep's value, the settings' `set` (`extra`); within each of them, a kind gives way to a stage name. Raises
    ConfigError.
    """
    if recipe.rounds is None and experiment.rounds is not None and "rounds" in experiment.given:
        raise ConfigError(
            f"{experiment.place('rounds')}: recipe {experiment.recipe} has no rounds; remove it"
        )
    raw = _unrolled(recipe, experiment.rounds)
    _check_unique(recipe_location, [name for name, _, _ in raw])
    valid = settable(recipe, experiment.rounds)
    for layer in experiment.own:
        check_set_keys(layer, valid)
    check_set_keys(SetLayer(f"{recipe_location}: defaults", recipe.defaults), valid & set(KINDS))
    layers = [*experiment.layers, extra]
    entries: list[Entry] = []
    for name, own, number in raw:
        location = f"{recipe_location}: stages.{name}"
        kind = own.pop("kind", DEFAULT_KIND)
        if kind not in OWN_KINDS:
            raise ConfigError(f"{location}.kind: found {kind!r}; {nearest(str(kind), OWN_KINDS)}")
        if name in KINDS and name != kind:
            raise ConfigError(
                f"{location}: a stage of kind {kind} may not be called like kind {name}; rename it"
            )
        references = {key: own.pop(key) for key in KINDS[kind].keys if key in own}
        for key, word in references.items():
            if not isinstance(word, str):
                raise ConfigError(
                    f"{location}.{key}: found {word!r}; needs the name of a stage or of the task's data"
                )
        block = [] if number is None else [name.removesuffix(str(number + 1))]
        words = [kind, *block, name]
        values = _parameters_for(words, recipe.defaults.get(kind, {}), own, layers)
        tell_round = KINDS[kind].in_round
        if number is not None and tell_round is not None:
            values = tell_round(values, number)
        place = place_of(words, layers, f"{location} (with {experiment.location}.set)")
        entries.append(
            Entry(name, kind, references, validated_once(KINDS[kind].parameters, values, place), number)
        )
    return entries
