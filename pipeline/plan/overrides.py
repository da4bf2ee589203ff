"""What is laid over an experiment makes another one, `<name>+<key>=<value>`: its own folder, links and figures.

So trying a value from the command line leaves what the suite's file says as it was. How to run (`run`), and which
experiments and seeds (`only`, `seeds`), change no key and so no name.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.config.load import Config, Override
from pipeline.config.suites import Experiment, SetLayer, Suite
from pipeline.plan.recipes import check_set_keys, settable

Keys = tuple[str, ...]
LONGEST = 200
"""Characters of a name; one that would be longer ends in a digest."""


def overridden(config: Config) -> Config:
    """The configuration in which every selected experiment that the override meets is one of its own.

    ConfigError where a word of the override's `set` meets none of them.
    """
    words = {name: _words(config, experiment) for name, experiment in config.experiments.items()}
    override = config.override
    check_set_keys(SetLayer(override.location, override.set), set().union(*words.values()))
    made = {name: _made(one, override, words[name]) for name, one in config.experiments.items()}
    return replace(
        config,
        suites=tuple(_with(suite, made) for suite in config.suites),
        experiments={experiment.name: experiment for experiment in made.values()},
        override=replace(override, set={}, choices={}),
    )


def _words(config: Config, experiment: Experiment) -> set[str]:
    recipe = config.library.recipe(experiment.recipe, experiment.place("recipe"))
    return settable(recipe, experiment.rounds)


def _with(suite: Suite, made: Mapping[str, Experiment]) -> Suite:
    """The suite with each experiment that was made behind the one that it comes from."""
    members: dict[str, Experiment] = {}
    for name, experiment in suite.experiments.items():
        members[name] = experiment
        if name in made and made[name].name != name:
            members[made[name].name] = replace(made[name], seeds=experiment.seeds)
    return replace(suite, experiments=members)


def _made(experiment: Experiment, override: Override, words: set[str]) -> Experiment:
    over = {word: values for word, values in override.set.items() if word in words}
    choices = {key: value for key, value in override.choices.items() if getattr(experiment, key) != value}
    parts = [*_leaves(over), *(((key,), value) for key, value in choices.items())]
    if not parts:
        return experiment
    places = {key: f"--config: {key}" for key in choices}
    changes: dict[str, Any] = {**choices, "given": {**experiment.given, **places}}
    return replace(experiment, name=_name(experiment.name, parts), over=over, **changes)


def _leaves(values: Mapping[str, Any], above: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _name(plain: str, parts: Sequence[tuple[Keys, Any]]) -> str:
    """The plain name and what is laid over it: safe as a folder's name, and different for different values."""
    text = "".join(f"+{_safe('.'.join(path))}={_safe(as_assigned(value))}" for path, value in parts)
    return plain + (text if len(plain + text) <= LONGEST else f"+{_digest(text)}")


def as_assigned(value: Any) -> str:
    """A value as `--config` takes it, whether it was read as YAML or is still text."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(as_assigned, value))}]"
    return str(value)


def _safe(text: str) -> str:
    """The text itself where a folder may be called so, else what is left of it and a digest of the whole."""
    left = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-")
    return left if left == text else f"{left}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
