"""What a stage is asked for, and its references: which are required or refused, and which snapshot is meant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.validation import nearest
from pipeline.plan.recipes import DOMAIN_WORDS
from pipeline.plan.stage import Stage
from pipeline.stages.kinds import Kind, Reference
from pipeline.training.schedules import snapshot_steps


@dataclass(frozen=True)
class Asked:
    """A stage to plan: its kind and parameters, and what its entry names.

    `words`: what the entry's keys name, among `stages` by name or in the task. `location`: the place, for errors.
    """

    kind: Kind
    parameters: BaseModel
    words: Mapping[str, str]
    stages: Mapping[str, Stage]
    location: str


def stage_named(word: str, stages: Mapping[str, Stage], location: str, kind: str | None = None) -> Stage:
    """The earlier stage called `word`; ConfigError where there is none, or it is not of kind `kind`."""
    stage = stages.get(word)
    if stage is None:
        raise ConfigError(
            f"{location}: found {word!r}, which is no earlier stage; {nearest(word, [*stages, *DOMAIN_WORDS])}"
        )
    if kind is not None and stage.kind != kind:
        raise ConfigError(f"{location}: stage `{word}` is of kind {stage.kind}; needs one of kind {kind}")
    return stage


def references_of(asked: Asked) -> dict[str, Stage]:
    """The stages that the references name, by role; ConfigError for one that is missing, wrong or not used."""
    found: dict[str, Stage] = {}
    for reference in asked.kind.references:
        location = f"{asked.location}.{reference.name}"
        word = asked.words.get(reference.name)
        if reference.through is not None:
            found[reference.name] = found[reference.through].parents[reference.name]
        elif word is not None:
            _check_used(reference, asked.parameters, location)
            found[reference.name] = stage_named(word, asked.stages, location, reference.kind)
        elif _is_required(reference, asked.parameters):
            raise ConfigError(f"{location}: missing; name the stage that gives it")
    return found


def _check_used(reference: Reference, parameters: BaseModel, location: str) -> None:
    if reference.only is not None and not reference.only.holds(parameters):
        found: Any = getattr(parameters, reference.only.key)
        raise ConfigError(f"{location}: `{reference.only.key}: {found}` does not use it; remove it")


def _is_required(reference: Reference, parameters: BaseModel) -> bool:
    return reference.required and (reference.only is None or reference.only.holds(parameters))


def selection_of(
    asked: Asked, references: Mapping[str, Stage], select: Callable[[Stage], Stage]
) -> Stage | None:
    """The stage that chooses the snapshot to start from, where that is done without labels; checks a named step.

    `select(model)` plans such a stage for a training.
    """
    for reference in asked.kind.references:
        if reference.snapshot is not None and reference.name in references:
            choice: str = getattr(asked.parameters, reference.snapshot)
            model = references[reference.name]
            _check_snapshot(model, choice, f"{asked.location}.{reference.snapshot}")
            return select(model) if choice == "label_free" else None
    return None


def _check_snapshot(model: Stage, choice: str, location: str) -> None:
    """Raise ConfigError where `choice` is a step at which the training stage `model` keeps no snapshot."""
    if not choice.isdigit():
        return
    kept = snapshot_steps(model.parameters.steps, model.parameters.snapshots)
    if int(choice) not in kept:
        shown = ", ".join(map(str, kept[:6])) + (", ..." if len(kept) > 6 else "")
        raise ConfigError(
            f"{location}: found {choice}, but {model.label} keeps snapshots of the steps {shown}; name one of them, or "
            "change the `snapshots` of that stage"
        )
