"""One experiment with one seed: its recipe's entries become stages, and each training gets its figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import Library
from pipeline.config.models import Recipe
from pipeline.config.suites import Experiment, SetLayer
from pipeline.config.validation import validated_once
from pipeline.config.yaml_files import merge
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.timm_names import check_timm_name
from pipeline.plan.domains import FURTHER, TaskDomains, labels_seen
from pipeline.plan.made import Made
from pipeline.plan.recipes import expand_recipe, place_of
from pipeline.plan.references import Asked, references_of, selection_of
from pipeline.plan.shorter_chains import shorter_chains
from pipeline.plan.stage import Inputs, Stage, StageSettings, make_stage
from pipeline.stages.kinds import KINDS, Kind
from pipeline.stages.parameters import EvaluateParameters, RankParameters, SelectParameters, SuggestParameters
from pipeline.stages.record import PlannedNetwork
from pipeline.stages.requirements import Facts


@dataclass
class PlannedRun:
    """One experiment with one seed: its named stages in order, and the stages that give figures."""

    experiment: str
    seed: int
    title: str
    metric: Literal["miou", "dice", "accuracy"]
    taxonomy: Taxonomy
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of task, recipe and network, and the suite's file."""
    scoring: Mapping[str, Any] = field(default_factory=dict)
    """`Scoring` by field."""
    swept: Mapping[str, Any] = field(default_factory=dict)
    """Values of the experiment's swept parameters."""
    stages: dict[str, Stage] = field(default_factory=dict)
    selects: dict[str, Stage] = field(default_factory=dict)
    evaluates: dict[str, Stage] = field(default_factory=dict)
    also: dict[str, dict[str, Stage]] = field(default_factory=dict)
    """Evaluations on further splits, by the title of the split, then as `evaluates`."""
    target_labels: bool = False
    """Whether a training opened labels of the target's images."""
    source_only: str | None = None
    """The stage whose model is taken away where the adapted one looks worse; None: the last one's always is."""
    endings: Mapping[str, str] = field(default_factory=dict)
    """By stage, the suite's line for an experiment that ends with it."""

    @property
    def trained(self) -> dict[str, Stage]:
        """The stages that train a model."""
        return {name: stage for name, stage in self.stages.items() if KINDS[stage.kind].gives == "model"}

    @property
    def final(self) -> str:
        """Name of the last training stage: the model to take away."""
        return list(self.trained)[-1]

    def method_of(self, name: str) -> str | None:
        """The method of a training stage; None for another one."""
        stage = self.trained.get(name)
        return KINDS[stage.kind].word_of(stage.parameters) if stage else None

    def all_stages(self) -> list[Stage]:
        """Every stage that the run needs directly; ancestors follow from these."""
        further = [stage for stages in self.also.values() for stage in stages.values()]
        return [*self.stages.values(), *self.selects.values(), *self.evaluates.values(), *further]


@dataclass
class RunPlanner:
    """Plans one experiment with one seed. `made`: every stage of the plan; equal ones are one object."""

    experiment: Experiment
    library: Library
    extra: SetLayer
    domains: TaskDomains
    settings: StageSettings
    made: Made

    @cached_property
    def recipe(self) -> Recipe:
        """The experiment's recipe."""
        return self.library.recipe(self.experiment.recipe, self.experiment.place("recipe"))

    @cached_property
    def recipe_location(self) -> str:
        """The recipe's file, and those that it is laid over."""
        files = self.library.recipe_files(self.experiment.recipe, self.experiment.place("recipe"))
        return " over ".join(map(str, files))

    @cached_property
    def network(self) -> NetworkParameters:
        """The experiment's network."""
        return self.library.network(self.experiment.network, self.experiment.place("network"))

    def plan(self) -> PlannedRun:
        """Plan every stage of the run; raises ConfigError or DataError naming file and key."""
        names = {key: getattr(self.experiment, key) for key in ("task", "recipe", "network")}
        names["suite"] = self.experiment.file
        run = PlannedRun(
            self.experiment.name,
            self.domains.seed,
            self.recipe.title,
            self.domains.task.metric,
            self.domains.data.taxonomy,
            names,
            self._scoring(),
            self.experiment.swept,
        )
        for entry in expand_recipe(self.recipe, self.experiment, self.extra, self.recipe_location):
            kind, location = KINDS[entry.kind], f"{self.recipe_location}: stages.{entry.name}"
            asked = Asked(kind, entry.parameters, entry.references, run.stages, location)
            run.stages[entry.name] = self._stage(asked)
        if "labelled" in self.experiment.given and not self.domains.labelled_is_read:
            raise ConfigError(
                f"{self.experiment.place('labelled')}: no stage of recipe {self.experiment.recipe} reads labelled "
                "target images; remove it"
            )
        if not run.trained:
            raise ConfigError(f"{self.recipe_location}: no stage of kind train; nothing would be learnt")
        target = self.domains.data.target
        run.target_labels = any(labels_seen(stage, target) for stage in run.trained.values())
        run.source_only = self._source_only(run) if self.recipe.guard else None
        run.endings = shorter_chains(self.experiment, self.library) if len(run.trained) > 1 else {}
        self._add_figures(run)
        return run

    def suggestion(self, run: PlannedRun, parameters: SuggestParameters) -> Stage:
        """A `suggest` stage on the run's last ranking, or on one of its last model where it has none."""
        rankings = [stage for stage in run.stages.values() if isinstance(stage.parameters, RankParameters)]
        ranking = rankings[-1] if rankings else self._ranking_of(run.stages[run.final])
        return self._added("suggest", parameters, {"ranking": ranking}, self.experiment.location)

    def _ranking_of(self, model: Stage) -> Stage:
        parameters = self._parameters_of("rank")
        return self._added("rank", parameters, {"model": model}, f"{self.experiment.location}.set.rank")

    def _source_only(self, run: PlannedRun) -> str | None:
        """The chain's first training where its objective is of the source alone; None without one."""
        name, first = next(iter(run.trained.items()))
        if name == run.final or first.parameters.objective.domains() != ("source",):
            return None
        return None if labels_seen(first, self.domains.data.target) else name

    def _add_figures(self, run: PlannedRun) -> None:
        """Add selection and evaluation of every training stage."""
        parameters: EvaluateParameters = self._parameters_of("evaluate")
        guarded = {run.source_only, run.final} if run.source_only else set()
        for name in run.trained:
            model = run.stages[name]
            references = {"model": model}
            if parameters.snapshots == "all" or name in guarded:
                run.selects[name] = self._select(model)
            if parameters.snapshots == "all":
                references["select"] = run.selects[name]
            if self.domains.data.evaluate is not None:
                run.evaluates[name] = self._added(
                    "evaluate", parameters, references, self.experiment.location
                )

            self._add_further(run, name, parameters.model_copy(update={"snapshots": "last"}))

    def _add_further(self, run: PlannedRun, name: str, parameters: EvaluateParameters) -> None:
        """Add a training's evaluations on further splits, of its last snapshot alone."""
        model = run.stages[name]
        for split in self.domains.further_splits(model):
            words = {"model": "model", "data": f"{FURTHER}{split}"}
            asked = Asked(KINDS["evaluate"], parameters, words, {"model": model}, self.experiment.location)
            said = self.domains.task.also[split]
            title = f"{split} (transductive)" if said.transductive else split
            run.also.setdefault(title, {})[name] = self._stage(asked)

    def _scoring(self) -> dict[str, Any]:
        """How figures are made: of the evaluation split, or as they would be where there is none."""
        parameters: EvaluateParameters = self._parameters_of("evaluate")
        shown = self.domains.task.evaluate or self.domains.task.target
        split = {"size": shown.size, "resample": shown.resample}
        return split | {"test_mode": parameters.test_mode, "batch": parameters.batch}

    def _select(self, model: Stage) -> Stage:
        return self._added("select", self._selection, {"model": model}, self.experiment.location)

    @cached_property
    def _selection(self) -> SelectParameters:
        parameters: SelectParameters = self._parameters_of("select")
        return parameters

    def _parameters_of(self, kind: str) -> Any:
        """Parameters of a kind that no entry of the recipe has."""
        values = dict(self.recipe.defaults.get(kind, {}))
        layers = (*self.experiment.layers, self.extra)
        for layer in layers:
            values = merge(values, dict(layer.values.get(kind, {})))
        place = place_of([kind], layers, f"{self.recipe_location}: defaults.{kind}")
        return validated_once(KINDS[kind].parameters, values, place)

    def _added(
        self, kind: str, parameters: BaseModel, references: Mapping[str, Stage], location: str
    ) -> Stage:
        """Make a stage that no entry of the recipe asks for."""
        words = {role: role for role in references}
        return self._stage(Asked(KINDS[kind], parameters, words, references, location))

    def _stage(self, asked: Asked) -> Stage:
        """Find a stage of the same kind, parameters and inputs, or make it."""
        references = references_of(asked)
        domains = self.domains.read_by(asked, references)
        inputs = Inputs(references, domains, selection_of(asked, references, self._select))
        around = self.experiment.task, self.experiment.network, self.domains.seed, self.settings.determinism
        return self.made.once(around, asked, inputs, lambda: self._make(asked, inputs))

    def _make(self, asked: Asked, inputs: Inputs) -> Stage:
        kind, parameters = asked.kind, asked.parameters
        if kind.check is not None:
            kind.check(parameters, self._facts(kind, inputs, asked.location))
        label = self._label(kind, parameters, inputs)
        return make_stage(kind, label, parameters, inputs, self.settings, self._network(kind, inputs))

    def _network(self, kind: Kind, inputs: Inputs) -> PlannedNetwork | None:
        """The network that a stage of this kind builds; where it starts from another stage, without initial weights."""
        if kind.network is None:
            return None
        check_timm_name(self.network.backbone, f"network {self.experiment.network}: backbone")
        continued = kind.network in inputs.references
        frozen = self.network.freeze_below is not None or self.network.freeze_blocks is not None
        if not continued and frozen and self.network.weights is None:
            raise ConfigError(
                f"{self.experiment.place('network')}: `freeze_below` or `freeze_blocks` of network "
                f"{self.experiment.network} would keep random numbers; give the network `weights`, or remove the key"
            )
        network = self.network.model_copy(update={"weights": None}) if continued else self.network
        return PlannedNetwork(parameters=network, num_classes=self.domains.data.taxonomy.num_classes)

    def _label(self, kind: Kind, parameters: BaseModel, inputs: Inputs) -> str:
        """Word, task and seed; what no seed has a part in is made once for all seeds."""
        label = f"{kind.word_of(parameters).replace('_', '-')}-{self.experiment.task}"
        return f"{label}-s{self.domains.seed}" if kind.seeded or inputs.are_drawn() else label

    def _facts(self, kind: Kind, inputs: Inputs, location: str) -> Facts:
        labels = {
            name: (domain.labels.label, domain.labels.parameters)
            for name, domain in inputs.domains.items()
            if domain.labels is not None
        }
        names = partial(self.domains.names, inputs.domains)
        sizes = {
            name: tuple(cache.parameters.size for cache in domain.caches)
            for name, domain in inputs.domains.items()
        }
        untrained = self.network.weights is None and kind.network not in inputs.references
        return Facts(
            location,
            self.domains.data.taxonomy,
            self.network,
            names,
            labels,
            sizes,
            untrained,
            self.settings.run.gpus,
        )
