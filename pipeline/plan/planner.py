"""From a configuration to the planned stages of all its experiments and seeds."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import Config
from pipeline.config.suites import Experiment, SetLayer
from pipeline.config.yaml_files import merge
from pipeline.plan.datasets import DataPlanner, TaskData
from pipeline.plan.domains import TaskDomains
from pipeline.plan.made import Made
from pipeline.plan.overrides import overridden
from pipeline.plan.recipes import check_set_keys, settable
from pipeline.plan.run import PlannedRun, RunPlanner
from pipeline.plan.stage import Stage, StageSettings
from pipeline.stages.parameters import SuggestParameters
from pipeline.stages.results import RESULTS


class Planner:
    """Plans all selected experiments; equal stages are one object, under the key that holds them in `results`."""

    def __init__(self, config: Config, results: Path = RESULTS) -> None:
        self.config = overridden(config)
        self.data = DataPlanner(config, results)
        self.extra = SetLayer(f"{config.location}: set", config.settings.set)
        self._made = Made()
        self._tasks: dict[str, TaskData] = {}

    def plan(self) -> list[PlannedRun]:
        """Plan every selected experiment and seed; raises ConfigError or DataError naming file and key."""
        for suite in self.config.suites:
            self._check_for_all(suite.shared, suite.experiments.values())
        self._check_for_all(self.extra, self.config.experiments.values())
        return [
            self.run(experiment, seed)
            for experiment in self.config.experiments.values()
            for seed in experiment.seeds
        ]

    def run(self, experiment: Experiment, seed: int) -> PlannedRun:
        """Plan one experiment, selected or not, with one seed; raises as `plan` does."""
        return self._run_planner(experiment, seed).plan()

    def _check_for_all(self, layer: SetLayer, experiments: Iterable[Experiment]) -> None:
        """What is set for all experiments may meet only some of them, but not none."""
        recipe = self.config.library.recipe
        chains = {(one.recipe, one.rounds): one.place("recipe") for one in experiments}
        valid = [settable(recipe(name, place), rounds) for (name, rounds), place in chains.items()]
        check_set_keys(layer, set().union(*valid))

    def suggestion(
        self, name: str, parameters: SuggestParameters, seed: int | None = None
    ) -> tuple[PlannedRun, Stage]:
        """Plan which images to label next after an experiment's run with `seed` (none: its first).

        Raises ConfigError for a seed that the experiment does not have, and as `plan` does.
        """
        experiment = self.config.experiments[name]
        seeds = experiment.seeds
        if seed is not None and seed not in seeds:
            raise ConfigError(
                f"{experiment.place('seeds')}: found {list(seeds)}, asked for {seed}; add it or ask for one of these"
            )
        planner = self._run_planner(experiment, seeds[0] if seed is None else seed)
        run = planner.plan()
        return run, planner.suggestion(run, parameters)

    def _run_planner(self, experiment: Experiment, seed: int) -> RunPlanner:
        library = self.config.library
        task = library.task(experiment.task, experiment.place("task"))
        if experiment.task not in self._tasks:
            location = str(library.file("tasks", experiment.task))
            self._tasks[experiment.task] = self.data.task(task, location)
        data, subset = self._tasks[experiment.task], experiment.labelled
        domains = TaskDomains(self.data, task, data, subset, seed, experiment.location)
        settings = StageSettings(
            self.config.settings.run,
            data.taxonomy,
            self.data.finished,
            determinism=experiment.determinism,
            seed=seed,
        )
        extra = SetLayer(self.extra.location, merge(dict(self.extra.values), dict(experiment.over)))
        return RunPlanner(experiment, library, extra, domains, settings, self._made)
