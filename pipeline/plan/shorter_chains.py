"""Recipes that give a chain's earlier stage as the model: the same stages as far as it, and no guard.

Their experiments train nothing anew, for their stages are the longer chain's own.
"""

import math
from typing import Any

import yaml

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import Library
from pipeline.config.models import Recipe
from pipeline.config.suites import Experiment
from pipeline.config.yaml_files import merge
from pipeline.plan.recipes import settable


def shorter_chains(experiment: Experiment, library: Library) -> dict[str, str]:
    """Return by stage the line of a suite whose experiment ends with it, with this experiment's settings.

    A chain with labelled images of its own choice has none: whether another recipe reads them is not known here.
    """
    if "labelled" in experiment.given:
        return {}
    whole = library.recipe(experiment.recipe, experiment.place("recipe"))
    lines: dict[str, str] = {}
    for name in library.recipes():
        try:
            other = library.recipe(name, experiment.location)
        except ConfigError:
            continue  # a mistake in a recipe is told to the experiment that uses it
        if name != experiment.recipe and _begins(other, whole):
            stage = list(other.stages)[-1]
            lines.setdefault(stage, f"{experiment.plain_name}-{stage}: {_entry(experiment, name, other)}")
    return lines


def _begins(shorter: Recipe, whole: Recipe) -> bool:
    """Whether a recipe without rounds and guard has the first stages of another, and its defaults."""
    own, stages = list(shorter.stages.items()), list(whole.stages.items())
    plain = shorter.rounds is None and not shorter.guard
    return plain and shorter.defaults == whole.defaults and own == stages[: len(own)]


def _entry(experiment: Experiment, name: str, recipe: Recipe) -> str:
    """The experiment's own keys in one line, with another recipe, as far as that has the stages."""
    entry: dict[str, Any] = {"recipe": name}
    entry |= {key: getattr(experiment, key) for key in ("task", "network") if key in experiment.given}
    if "seeds" in experiment.given:
        entry["seeds"] = list(experiment.seeds)
    values: dict[str, Any] = {}
    for layer in experiment.own:
        values = merge(values, dict(layer.values))
    if kept := {word: said for word, said in values.items() if word in settable(recipe, None) and said}:
        entry["set"] = kept
    return yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=math.inf).strip()
