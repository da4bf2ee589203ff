"""From the references of a stage entry to stages: which are required or refused, and which snapshot is meant."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.validation import nearest
from pipeline.plan.recipes import DOMAIN_WORDS
from pipeline.plan.stage import Stage
from pipeline.stages.kinds import Kind, Reference
from pipeline.training.schedules import snapshot_steps

Selects = Callable[[Stage], Stage]
"""The `select` stage of a training."""


def stage_named(word: str, stages: Mapping[str, Stage], where: str, kind: str | None = None) -> Stage:
    """The earlier stage called `word`; ConfigError where there is none, or it is not of kind `kind`."""
    stage = stages.get(word)
    if stage is None:
        raise ConfigError(
            f"{where}: found {word!r}, which is no earlier stage; {nearest(word, [*stages, *DOMAIN_WORDS])}"
        )
    if kind is not None and stage.kind != kind:
        raise ConfigError(f"{where}: stage `{word}` is of kind {stage.kind}; needs one of kind {kind}")
    return stage


def resolved(
    kind: Kind, words: Mapping[str, str], parameters: BaseModel, stages: Mapping[str, Stage], where: str
) -> dict[str, Stage]:
    """The stages that an entry's references name, by role; ConfigError for one that is missing, wrong or not used."""
    found: dict[str, Stage] = {}
    for reference in kind.references:
        if reference.through is not None:
            found[reference.name] = found[reference.through].parents[reference.name]
        elif reference.name in words:
            at = f"{where}.{reference.name}"
            _check_used(reference, parameters, at)
            found[reference.name] = stage_named(words[reference.name], stages, at, reference.kind)
        elif _is_required(reference, parameters):
            raise ConfigError(f"{where}.{reference.name}: missing; name the stage that gives it")
    return found


def _check_used(reference: Reference, parameters: BaseModel, where: str) -> None:
    if reference.only is not None and not reference.only.holds(parameters):
        found: Any = getattr(parameters, reference.only.key)
        raise ConfigError(f"{where}: `{reference.only.key}: {found}` does not use it; remove it")


def _is_required(reference: Reference, parameters: BaseModel) -> bool:
    return reference.required and (reference.only is None or reference.only.holds(parameters))


def selection_of(
    kind: Kind, references: Mapping[str, Stage], parameters: BaseModel, select: Selects, where: str
) -> Stage | None:
    """The stage that chooses the snapshot to start from, where that is done without labels; checks a named step."""
    for reference in kind.references:
        if reference.snapshot is not None and reference.name in references:
            choice: str = getattr(parameters, reference.snapshot)
            model = references[reference.name]
            _check_snapshot(model, choice, f"{where}.{reference.snapshot}")
            return select(model) if choice == "label_free" else None
    return None


def _check_snapshot(model: Stage, choice: str, where: str) -> None:
    """Raise ConfigError where `choice` is a step at which the training stage `model` keeps no snapshot."""
    if not choice.isdigit():
        return
    kept = snapshot_steps(model.parameters.steps, model.parameters.snapshots)
    if int(choice) not in kept:
        shown = ", ".join(map(str, kept[:6])) + (", ..." if len(kept) > 6 else "")
        raise ConfigError(
            f"{where}: found {choice}, but {model.label} keeps snapshots of the steps {shown}; name one of them, or "
            "change the `snapshots` of that stage"
        )
