"""From a configuration to planned stages: references resolved to parents, figures' stages added."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import Config
from pipeline.config.models import Experiment, Task
from pipeline.config.validation import validated
from pipeline.config.yaml_files import merge
from pipeline.methods.parameters import method_domains
from pipeline.networks.parameters import NetworkParameters
from pipeline.plan.checks import (
    check_method,
    check_prior_source,
    check_ranking,
    check_snapshot,
)
from pipeline.plan.datasets import DataPlanner, TaskData
from pipeline.plan.recipes import DOMAIN_WORDS, Entry, check_set_keys, expand_recipe, settable
from pipeline.plan.stage import Stage, make_stage
from pipeline.plan.suggestions import suggest_parents
from pipeline.schema.names import nearest
from pipeline.stages.kinds import KINDS
from pipeline.stages.parameters import EvaluateParameters, RankParameters, SelectParameters, SuggestParameters


@dataclass
class PlannedRun:
    """One experiment with one seed: its named stages in order, and the stages that give figures."""

    experiment: str
    seed: int
    title: str
    metric: str
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of task, recipe and network."""
    stages: dict[str, Stage] = field(default_factory=dict)
    selects: dict[str, Stage] = field(default_factory=dict)
    evaluates: dict[str, Stage] = field(default_factory=dict)

    @property
    def final(self) -> str:
        """Name of the last training stage: the model to take away."""
        return [name for name, stage in self.stages.items() if stage.kind == "train"][-1]

    def all_stages(self) -> list[Stage]:
        """Every stage that the run needs directly; ancestors follow from these."""
        return [*self.stages.values(), *self.selects.values(), *self.evaluates.values()]


def _hashed(kind: str, parameters: BaseModel, determinism: str) -> dict[str, Any]:
    values = parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if determinism == "fast":
        values["determinism"] = "fast"
        if kind != "train":
            # In `fast` the inference batch is free: results agree to rounding whatever it is.
            values.pop("batch", None)
    return values


def _draws(stage: Stage) -> bool:
    """Whether the seed has a part in the stage: it, or a stage it comes from, draws numbers."""
    return KINDS[stage.kind].seeded or any(map(_draws, stage.parents.values()))


class _RunPlanner:
    """Plans one experiment with one seed."""

    def __init__(
        self,
        name: str,
        experiment: Experiment,
        task: Task,
        data: TaskData,
        network: NetworkParameters,
        seed: int,
        planner: "Planner",
    ) -> None:
        self.name, self.experiment, self.task, self.data = name, experiment, task, data
        self.network, self.seed, self.planner = network, seed, planner
        self.origin = str(planner.config.library.root / "experiments" / f"{name}.yaml")
        self.recipe_origin = str(planner.config.library.root / "recipes" / f"{experiment.recipe}.yaml")
        self.recipe = planner.config.library.recipe(experiment.recipe, self.origin)
        self.selection: SelectParameters = self._kind_parameters("select", SelectParameters)
        self.stages: dict[str, Stage] = {}
        self.labelled_is_read = False

    def _label(self, word: str, kind: str, parents: Mapping[str, Stage]) -> str:
        label = f"{word.replace('_', '-')}-{self.experiment.task}"
        # What no seed has a part in is made once for all seeds.
        drawn = KINDS[kind].seeded or any(map(_draws, parents.values()))
        return f"{label}-s{self.seed}" if drawn else label

    def _stage_named(self, word: str, where: str, kind: str | None = None) -> Stage:
        stage = self.stages.get(word)
        if stage is None:
            raise ConfigError(
                f"{where}: found {word!r}, which is no earlier stage; {nearest(word, [*self.stages, *DOMAIN_WORDS])}"
            )
        if kind is not None and stage.kind != kind:
            raise ConfigError(f"{where}: stage `{word}` is of kind {stage.kind}; needs one of kind {kind}")
        return stage

    def _labelled_subset(self, where: str) -> Stage:
        subset = self.experiment.labelled
        if subset is None:
            raise ConfigError(
                f"{where}: this stage uses labelled target images; give `labelled: {{count: 20}}` or "
                f"`labelled: {{names: FILE}}` in {self.origin}"
            )
        self.labelled_is_read = True
        return self.planner.data.labelled(self.task, subset, self.data.taxonomy, self.seed, self.origin)

    def _domain(self, role: str, word: str, where: str) -> tuple[dict[str, Stage], dict[str, Any]]:
        """Parents and parameters that make up one domain of a stage."""
        if word == "task.source":
            return {
                role if i == 0 else f"{role}.{i + 1}": stage for i, stage in enumerate(self.data.source)
            }, {}
        if word == "task.target":
            return {role: self.data.target}, {}
        if word == "task.target_labels":
            return {
                role: self.planner.data.prepare(self.task.target, self.data.taxonomy, "working", self.origin)
            }, {}
        if word == "task.labelled":
            return {role: self._labelled_subset(where)}, {}
        head, dot, part = word.partition(".")
        stage = self._stage_named(head, where)
        if stage.kind == "split":
            if part not in ("easy", "hard"):
                raise ConfigError(f"{where}: found {word!r}; needs {head}.easy or {head}.hard")
            return {role: self.data.target, f"{role}_part": stage}, {f"{role}_part": part}
        if stage.kind == "pseudolabel" and not dot:
            return {role: self.data.target, f"{role}_labels": stage}, {}
        raise ConfigError(
            f"{where}: found {word!r} (a stage of kind {stage.kind}); needs a split's part, a pseudolabel stage, "
            f"or one of {', '.join(DOMAIN_WORDS)}"
        )

    def _snapshot_parents(self, role: str, stage: Stage, snapshot: str, where: str) -> dict[str, Stage]:
        check_snapshot(stage, snapshot, where)
        parents = {role: stage}
        if snapshot == "label_free":
            parents[f"{role}_select"] = self._select(stage)
        return parents

    def _select(self, model: Stage) -> Stage:
        return self._make("select", "select", self.selection, {"model": model, "target": self.data.target})

    def _make(
        self,
        kind: str,
        word: str,
        parameters: BaseModel,
        parents: Mapping[str, Stage],
        more: Mapping[str, Any] | None = None,
        hashed_more: Mapping[str, Any] | None = None,
    ) -> Stage:
        determinism = self.planner.config.settings.determinism
        full = (
            parameters.model_dump(mode="json", by_alias=True)
            | dict(more or {})
            | {"determinism": determinism}
        )
        hashed = _hashed(kind, parameters, determinism) | dict(
            more or {} if hashed_more is None else hashed_more
        )
        label = self._label(word, kind, parents)
        return self.planner.intern(make_stage(kind, label, full, hashed, parents, seed=self.seed))

    def _train(self, entry: Entry, where: str) -> Stage:
        parameters: Any = entry.parameters
        check_method(parameters, self.network, where)
        domains: tuple[str, ...] = method_domains(parameters)
        parents: dict[str, Stage] = {}
        more: dict[str, Any] = {}
        for role in domains:
            word = entry.references.get(role, f"task.{role}")
            found, extra = self._domain(role, word, f"{where}.{role}")
            parents |= found
            more |= extra
        if parameters.objective.target_labels:
            self._check_pseudo_labels(parameters.objective, parents, where)
        for role in entry.references:
            if role != "init" and role not in domains:
                raise ConfigError(
                    f"{where}.{role}: method {parameters.method} does not read this domain; it reads {', '.join(domains)}"
                )
        network = self.network.model_dump(mode="json")
        hashed_network = self.network.model_dump(mode="json", exclude_defaults=True)
        if "init" in entry.references:
            init = self._stage_named(entry.references["init"], f"{where}.init", "train")
            parents |= self._snapshot_parents(
                "init", init, parameters.init_snapshot, f"{where}.init_snapshot"
            )
            network["weights"] = None
            hashed_network.pop("weights", None)
        elif (weights := hashed_network.get("weights")) and weights.get("sha256"):
            # The checksum says what the file holds; where it lies changes nothing.
            hashed_network["weights"] = {key: value for key, value in weights.items() if key != "source"}
        return self._make(
            "train",
            parameters.method,
            parameters,
            parents,
            more | {"network": network, "num_classes": self.data.taxonomy.num_classes},
            more | {"network": hashed_network, "num_classes": self.data.taxonomy.num_classes},
        )

    @staticmethod
    def _check_pseudo_labels(objective: Any, parents: Mapping[str, Stage], where: str) -> None:
        labels = parents.get("target_labels")
        if labels is None:
            raise ConfigError(
                f"{where}.target: method {objective.method} needs a stage of kind pseudolabel here"
            )
        soft = labels.parameters["soft_alpha"] is not None
        if soft != (objective.regulariser == "lrent"):
            raise ConfigError(
                f"{where}: `regulariser: lrent` and `soft_alpha` of stage {labels.label} belong together; set both "
                "or none"
            )

    def _stage(self, entry: Entry) -> Stage:
        where = f"{self.recipe_origin}: stages.{entry.name}"
        parameters: Any = entry.parameters
        if entry.kind == "train":
            return self._train(entry, where)
        parents: dict[str, Stage] = {}
        more: dict[str, Any] = {}
        if "model" in entry.references:
            model = self._stage_named(entry.references["model"], f"{where}.model", "train")
            parents |= self._snapshot_parents("model", model, parameters.snapshot, f"{where}.snapshot")
        if "ranking" in entry.references:
            parents["ranking"] = self._stage_named(entry.references["ranking"], f"{where}.ranking", "rank")
        if "prior" in entry.references:
            parents["prior"] = self._stage_named(entry.references["prior"], f"{where}.prior", "prior")
        if entry.kind in ("rank", "pseudolabel"):
            found, more = self._domain(
                "images", entry.references.get("images", "task.target"), f"{where}.images"
            )
            parents |= found
        if entry.kind == "prior":
            word = entry.references.get("source", "task.source")
            check_prior_source(word, f"{where}.source")
            found, more = self._domain("source", word, f"{where}.source")
            # The target gives the size only; its images are not read.
            parents |= found | {"target": self.data.target}
        self._check_complete(entry, parents, where)
        if entry.kind == "split":
            check_ranking(parameters.ranking, self.data.taxonomy, where)
        return self._make(entry.kind, entry.kind, parameters, parents, more)

    def _suggest_parents(self, ranking: Stage, count: int, where: str) -> dict[str, Stage]:
        return suggest_parents(ranking, self.data.target, self.planner.data, count, self.origin, where)

    @staticmethod
    def _check_complete(entry: Entry, parents: Mapping[str, Stage], where: str) -> None:
        parameters: Any = entry.parameters
        needed = {"rank": ["model"], "split": ["ranking"]}.get(entry.kind, [])
        if entry.kind == "pseudolabel":
            needed = ["ranking"] if parameters.labelling == "argmax" else ["model"]
            unused = {"argmax": ("model", "prior"), "thresholds": ("ranking",)}[parameters.labelling]
            for role in unused:
                if role in parents:
                    raise ConfigError(
                        f"{where}.{role}: `labelling: {parameters.labelling}` does not use it; remove it"
                    )
        for role in needed:
            if role not in parents:
                raise ConfigError(f"{where}.{role}: missing; name the stage that gives it")

    def _kind_parameters(self, kind: str, model: type[BaseModel]) -> Any:
        values = dict(self.recipe.defaults.get(kind, {}))
        for layer in (self.experiment.set, self.planner.config.settings.set):
            values = merge(values, dict(layer.get(kind, {})))
        return validated(model, values, f"{self.origin}: set.{kind}")

    def plan(self) -> PlannedRun:
        """Plan every stage of the run."""
        config = self.planner.config
        recipe = self.recipe
        names = {
            "task": self.experiment.task,
            "recipe": self.experiment.recipe,
            "network": self.experiment.network,
        }
        run = PlannedRun(self.name, self.seed, recipe.title, self.task.metric, names)
        for entry in expand_recipe(
            recipe, self.experiment, config.settings.set, self.recipe_origin, self.origin
        ):
            self.stages[entry.name] = self._stage(entry)
        if self.experiment.labelled is not None and not self.labelled_is_read:
            raise ConfigError(
                f"{self.origin}: labelled: no stage of recipe {self.experiment.recipe} reads labelled target images; "
                "remove it"
            )
        run.stages = self.stages
        trained = [name for name, stage in self.stages.items() if stage.kind == "train"]
        if not trained:
            raise ConfigError(f"{self.recipe_origin}: no stage of kind train; nothing would be learnt")
        evaluate = self._kind_parameters("evaluate", EvaluateParameters)
        for name in trained:
            model = self.stages[name]
            parents = {"model": model}
            if evaluate.snapshots == "all":
                run.selects[name] = self._select(model)
                parents["select"] = run.selects[name]
            if self.data.evaluate is not None:
                run.evaluates[name] = self._make(
                    "evaluate", "evaluate", evaluate, parents | {"data": self.data.evaluate}
                )
        return run

    def suggestion(self, run: PlannedRun, parameters: SuggestParameters) -> Stage:
        """A `suggest` stage on the run's last ranking, or on one of its last model where it has none."""
        rankings = [stage for stage in run.stages.values() if stage.kind == "rank"]
        ranking = rankings[-1] if rankings else self._ranking_of(run.stages[run.final])
        parents = self._suggest_parents(ranking, parameters.count, self.origin)
        return self._make("suggest", "suggest", parameters, parents)

    def _ranking_of(self, model: Stage) -> Stage:
        parameters = self._kind_parameters("rank", RankParameters)
        parents = self._snapshot_parents(
            "model", model, parameters.snapshot, f"{self.origin}: set.rank.snapshot"
        )
        return self._make("rank", "rank", parameters, parents | {"images": self.data.target})


class Planner:
    """Plans all selected experiments; equal stages are one object."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.data = DataPlanner(config)
        self._stages: dict[str, Stage] = {}
        """By digest: what two tasks share is made once, under the label of the first."""
        self._tasks: dict[str, TaskData] = {}

    def intern(self, stage: Stage) -> Stage:
        """Return the one stage of that digest."""
        return self._stages.setdefault(stage.digest, stage)

    def plan(self) -> list[PlannedRun]:
        """Plan every experiment and seed; raises ConfigError or DataError naming file and key."""
        valid: set[str] = set()
        for name, experiment in self.config.experiments.items():
            recipe = self.config.library.recipe(experiment.recipe, self._origin(name))
            valid |= settable(recipe, experiment.rounds)
        check_set_keys(self.config.origin, self.config.settings.set, valid)
        return [
            self._run_planner(name, seed).plan()
            for name, experiment in self.config.experiments.items()
            for seed in experiment.seeds
        ]

    def suggestion(
        self, name: str, parameters: SuggestParameters, seed: int | None = None
    ) -> tuple[PlannedRun, Stage]:
        """Plan which images to label next after an experiment's run with `seed` (none: its first).

        Raises ConfigError for a seed that the experiment does not have, and as `plan` does.
        """
        seeds = self.config.experiments[name].seeds
        if seed is not None and seed not in seeds:
            raise ConfigError(
                f"{self._origin(name)}: seeds: found {seeds}, asked for {seed}; add it or ask for one of these"
            )
        planner = self._run_planner(name, seeds[0] if seed is None else seed)
        run = planner.plan()
        return run, planner.suggestion(run, parameters)

    def _origin(self, name: str) -> str:
        return str(self.config.library.root / "experiments" / f"{name}.yaml")

    def _run_planner(self, name: str, seed: int) -> _RunPlanner:
        experiment, library, origin = self.config.experiments[name], self.config.library, self._origin(name)
        task = library.task(experiment.task, origin)
        if experiment.task not in self._tasks:
            asked_by = str(library.root / "tasks" / f"{experiment.task}.yaml")
            self._tasks[experiment.task] = self.data.task(task, asked_by)
        network = library.network(experiment.network, origin)
        return _RunPlanner(name, experiment, task, self._tasks[experiment.task], network, seed, self)
