"""Which experiments and seeds of the given suites run: what `only` and `seeds` say."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from pipeline.artifacts.errors import ConfigError
from pipeline.config.suites import Experiment, Suite
from pipeline.config.validation import nearest


def selected(
    suites: Sequence[Suite], only: Sequence[str] | None, seeds: Sequence[int] | None
) -> dict[str, Experiment]:
    """The experiments by name that match a pattern of `only`, each with those of its seeds that `seeds` has.

    None selects all. Raises ConfigError for a pattern or a seed that selects nothing.
    """
    found = {name: experiment for suite in suites for name, experiment in suite.experiments.items()}
    if only is not None:
        found = _matching(found, only, " + ".join(suite.file for suite in suites))
    return found if seeds is None else _with_seeds(found, seeds)


def _matching(experiments: dict[str, Experiment], only: Sequence[str], files: str) -> dict[str, Experiment]:
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in experiments):
            raise ConfigError(
                f"only: {pattern!r} selects no experiment of {files}; {nearest(pattern, experiments)}. "
                "--configfile names another suite"
            )
    return {
        name: experiment
        for name, experiment in experiments.items()
        if any(fnmatchcase(name, pattern) for pattern in only)
    }


def _with_seeds(experiments: dict[str, Experiment], seeds: Sequence[int]) -> dict[str, Experiment]:
    known = {seed for experiment in experiments.values() for seed in experiment.seeds}
    for seed in seeds:
        if seed not in known:
            shown = ", ".join(map(str, sorted(known)))
            raise ConfigError(
                f"seeds: {seed} selects nothing; the selected experiments have the seeds {shown}"
            )
    narrowed = {
        name: replace(experiment, seeds=tuple(seed for seed in experiment.seeds if seed in seeds))
        for name, experiment in experiments.items()
    }
    return {name: experiment for name, experiment in narrowed.items() if experiment.seeds}
