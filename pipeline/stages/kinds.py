"""The stage kinds, each declared once: what it reads, what it gives, when it draws numbers; free of torch.

Raise a kind's `version` when its code changes what it computes: every stage of that kind, and all that
follow it, get new keys and are computed again. The golden tests in `tests/workflow` tie version to behaviour.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.datasets.taxonomy import TaxonomyPart
from pipeline.methods.objective import Setting
from pipeline.methods.parameters import in_round
from pipeline.stages.parameters import (
    EvaluateParameters,
    PrepareParameters,
    PriorParameters,
    PseudolabelParameters,
    RankParameters,
    SelectParameters,
    SplitParameters,
    SuggestParameters,
)
from pipeline.stages.requirements import (
    Facts,
    enough_images_to_label,
    objective_fits,
    rare_classes_are_named,
)
from pipeline.training.parameters import TrainParameters


@dataclass(frozen=True)
class Reference:
    """A key of a stage entry that names an earlier stage of kind `kind`.

    `snapshot`: the parameter that chooses one of that stage's snapshots. `required`: it must be given. `only`:
    under this setting alone; under any other it is refused. `through`: never written in an entry, it is the
    stage that the one named by the reference `through` has in this role.
    """

    name: str
    kind: str
    snapshot: str | None = None
    required: bool = False
    only: Setting | None = None
    through: str | None = None


@dataclass(frozen=True)
class DomainKey:
    """A key of a stage entry that names images: the task's own, a part of a split, or pseudo-labelled ones.

    `word`: what it names unless the entry says otherwise. `own_labels`: it must name a dataset's own labels.
    `settable`: an entry may name something else. `through`: as for a reference. `seen_by`: the target's images
    whose labels the stage in that role, or one that it came from, was trained on; there may be none.
    """

    name: str
    word: str = "task.target"
    own_labels: bool = False
    settable: bool = True
    through: str | None = None
    seen_by: str | None = None


def _unread_by_prepare(parameters: PrepareParameters) -> set[str]:
    """Without labels no class is looked up, and without a size no image is resized."""
    labels = {"classes", "ignored"} if parameters.labels == "none" else set()
    return labels | ({"resample"} if parameters.size is None else set())


def _unread_by_train(parameters: TrainParameters) -> set[str]:
    """Most objectives do not ask which classes are things."""
    return set() if parameters.objective.reads_things() else {"things"}


def _set_round(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {**values, "round": number}


@dataclass(frozen=True)
class Kind:
    """One stage kind."""

    name: str
    version: int
    parameters: type[BaseModel]
    references: tuple[Reference, ...] = ()
    domains: tuple[DomainKey, ...] = ()
    reads: Callable[[Any], Collection[str]] | None = None
    """Names of the domains that a stage with these parameters reads, in order; None: all."""
    gives: Literal["model", "parts", "labels"] | None = None
    """A trained model, or what other stages take from it as a domain."""
    planned_by: Literal["recipe", "task", "figures", "command"] = "recipe"
    """Where its stages come from: a recipe's entries, a task's data, the figures of each training, or a verb."""
    seeded: bool = False
    """Whether it draws numbers."""
    taxonomy: tuple[TaxonomyPart, ...] = ()
    """What it reads of the task's taxonomy; the rest is in no key of it."""
    unread: Callable[[Any], Collection[str]] | None = None
    """Parts of the taxonomy and parameters that a stage with these parameters does not read after all; None: none."""
    free_in_fast: tuple[str, ...] = ()
    """Parameters that change results by rounding only, and are part of no key in `fast`."""
    network: str | None = None
    """It builds the experiment's network, whose initial weights the reference of this name replaces."""
    word: Callable[[Any], str] | None = None
    """First word of a stage's label by its parameters; None: the name."""
    rule: Callable[[Any], str] | None = None
    """The workflow rule by a stage's parameters; None: the name."""
    in_round: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None
    """Tells unvalidated parameters the number of their round."""
    check: Callable[[Any, Facts], None] | None = None
    """Refuses, when planned, what would fail after hours."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a recipe's stage entry that name other stages or images."""
        references = [one.name for one in self.references if one.through is None]
        domains = [one.name for one in self.domains if one.settable]
        return (*references, *domains)

    def domains_of(self, parameters: BaseModel) -> tuple[DomainKey, ...]:
        """The domains that a stage with these parameters reads."""
        if self.reads is None:
            return self.domains
        named = {one.name: one for one in self.domains}
        return tuple(named[name] for name in self.reads(parameters))

    def rule_of(self, parameters: BaseModel) -> str:
        """Name of the workflow rule, and of the results folder, that serves a stage."""
        return self.rule(parameters) if self.rule else self.name

    def word_of(self, parameters: BaseModel) -> str:
        """First word of a stage's label."""
        return self.word(parameters) if self.word else self.name


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "prepare",
            1,
            PrepareParameters,
            planned_by="task",
            taxonomy=("classes", "ignored"),
            unread=_unread_by_prepare,
        ),
        Kind(
            "train",
            5,
            TrainParameters,
            references=(Reference("init", "train", snapshot="init_snapshot"),),
            domains=tuple(DomainKey(name, f"task.{name}") for name in ("source", "target", "labelled")),
            reads=lambda parameters: parameters.domains_read(),
            gives="model",
            seeded=True,
            taxonomy=("classes", "things"),
            unread=_unread_by_train,
            network="init",
            word=lambda parameters: parameters.method,
            rule=lambda parameters: parameters.objective.rule,
            in_round=in_round,
            check=objective_fits,
        ),
        Kind(
            "rank",
            3,
            RankParameters,
            references=(Reference("model", "train", snapshot="snapshot", required=True),),
            domains=(DomainKey("images"),),
            taxonomy=("classes",),
            free_in_fast=("batch",),
        ),
        Kind(
            "split",
            1,
            SplitParameters,
            references=(Reference("ranking", "rank", required=True),),
            gives="parts",
            taxonomy=("classes", "rare"),
            check=rare_classes_are_named,
        ),
        Kind(
            "pseudolabel",
            3,
            PseudolabelParameters,
            references=(
                Reference("ranking", "rank", required=True, only=Setting("labelling", "argmax")),
                Reference(
                    "model",
                    "train",
                    snapshot="snapshot",
                    required=True,
                    only=Setting("labelling", "thresholds"),
                ),
                Reference("prior", "prior", only=Setting("labelling", "thresholds")),
            ),
            domains=(DomainKey("images"),),
            gives="labels",
            taxonomy=("classes",),
            in_round=_set_round,
            free_in_fast=("batch",),
        ),
        Kind(
            "prior",
            2,
            PriorParameters,
            domains=(
                DomainKey("source", "task.source", own_labels=True),
                # The target gives the size only; its images are not read.
                DomainKey("target", settable=False),
            ),
            taxonomy=("classes",),
        ),
        Kind(
            "select",
            4,
            SelectParameters,
            references=(Reference("model", "train", required=True),),
            domains=(DomainKey("target", settable=False),),
            planned_by="figures",
            free_in_fast=("batch",),
        ),
        Kind(
            "evaluate",
            4,
            EvaluateParameters,
            references=(Reference("model", "train", required=True), Reference("select", "select")),
            domains=(DomainKey("data", "task.evaluate", settable=False),),
            planned_by="figures",
            taxonomy=("classes", "subsets"),
            free_in_fast=("batch",),
        ),
        Kind(
            "suggest",
            2,
            SuggestParameters,
            references=(
                Reference("ranking", "rank", required=True),
                Reference("model", "train", through="ranking"),
            ),
            domains=(
                DomainKey("images", settable=False, through="ranking"),
                DomainKey("labelled", settable=False, seen_by="model"),
            ),
            planned_by="command",
            taxonomy=("classes", "colors"),
            check=enough_images_to_label,
        ),
    )
}
