"""A planned stage and its key."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.artifacts.files import digest_of
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.plan.finished import Finished, Identity
from pipeline.plan.former import former_digest
from pipeline.stages.kinds import KINDS, Kind
from pipeline.stages.record import ArtifactRef, DomainRef, Part, PlannedData, PlannedNetwork, StageRecord
from pipeline.training.parameters import RunSettings


@dataclass(frozen=True)
class Stage:
    """One unit of work: kind + parameters + parents -> one artifact.

    `parents`: by the role under which the key hashes them. `former`: its digest by the former rule.
    """

    record: StageRecord
    parents: Mapping[str, "Stage"]
    former: str

    @property
    def key(self) -> str:
        """`<label>-<12 hex>`, or the name of the folder that holds its digest already."""
        return self.record.key

    @property
    def digest(self) -> str:
        """SHA-256 of all that made the key."""
        return self.record.digest

    @property
    def kind(self) -> str:
        """Name of its kind."""
        return self.record.kind

    @property
    def rule(self) -> str:
        """The workflow rule that makes it."""
        return self.record.rule

    @property
    def label(self) -> str:
        """The key's readable beginning."""
        return self.record.label

    @property
    def is_drawn(self) -> bool:
        """Whether the seed has a part in it: it, or a stage it comes from, draws numbers."""
        return KINDS[self.kind].seeded or any(parent.is_drawn for parent in self.parents.values())

    @property
    def parameters(self) -> Any:
        """The kind's parameters, of its class."""
        return self.record.parameters


@dataclass(frozen=True)
class PlannedDomain:
    """The images of a domain and their labels: as `DomainRef`, with the stages themselves."""

    caches: tuple[Stage, ...]
    split: Stage | None = None
    part: Part | None = None
    labels: Stage | None = None

    def stages(self) -> list[Stage]:
        """All stages that it is made of."""
        return [*self.caches, *(one for one in (self.split, self.labels) if one is not None)]


@dataclass(frozen=True)
class Inputs:
    """What a stage reads: other stages by reference, domains by name, and who chooses the snapshot to start from."""

    references: Mapping[str, Stage] = field(default_factory=dict)
    domains: Mapping[str, PlannedDomain] = field(default_factory=dict)
    selection: Stage | None = None

    def are_drawn(self) -> bool:
        """Whether the seed has a part in any of them; a selection's in the model that it is of."""
        images = [stage for domain in self.domains.values() for stage in domain.stages()]
        return any(stage.is_drawn for stage in (*self.references.values(), *images))


@dataclass(frozen=True)
class Roles:
    """The inputs of a stage under the names that its key hashes."""

    parents: Mapping[str, Stage]
    domains: Mapping[str, DomainRef]
    selection: str | None
    parts: dict[str, str]


def hashed_roles(kind: Kind, inputs: Inputs) -> Roles:
    """Name a stage's parents, and the parameters that choose parts of splits, as keys have always had them.

    A domain's first cache has the domain's name, further ones `source.2`, `source.3`; `source_part` is its split,
    and as a parameter the part; `source_labels` gives its labels. `model_select` chose the snapshot of `model`.
    Another name is another key: finished artifacts would not be found again. Nothing reads these names.
    """
    parents: dict[str, Stage] = {}
    domains: dict[str, DomainRef] = {}
    parts: dict[str, str] = {}
    for name, domain in inputs.domains.items():
        caches = {
            name if place == 0 else f"{name}.{place + 1}": one for place, one in enumerate(domain.caches)
        }
        split = {f"{name}_part": domain.split} if domain.split else {}
        labels = {f"{name}_labels": domain.labels} if domain.labels else {}
        parents |= caches | split | labels
        domains[name] = DomainRef(
            caches=tuple(caches),
            split=next(iter(split), None),
            part=domain.part,
            labels=next(iter(labels), None),
        )
        if domain.part is not None:
            parts[f"{name}_part"] = domain.part
    parents |= inputs.references
    if inputs.selection is None:
        return Roles(parents, domains, None, parts)
    chosen = next(one.name for one in kind.references if one.snapshot and one.name in inputs.references)
    parents[f"{chosen}_select"] = inputs.selection
    return Roles(parents, domains, f"{chosen}_select", parts)


@dataclass(frozen=True)
class StageSettings:
    """What all stages of a plan share, and the seed of those that draw numbers; `run` is part of no key.

    `finished`: where artifacts are looked for.
    """

    run: RunSettings
    taxonomy: Taxonomy
    finished: Finished
    determinism: Literal["exact", "fast"] = "exact"
    seed: int | None = None


def make_stage(
    kind: Kind,
    label: str,
    parameters: BaseModel,
    inputs: Inputs,
    settings: StageSettings,
    subject: PlannedNetwork | PlannedData | None = None,
) -> Stage:
    """Make a stage and its key `<label>-<12 hex>`; the label is for people and not hashed.

    `subject`: the network of a training, or the data of `prepare`. The digest is SHA-256 over canonical JSON, of
    parameters only what differs from its default, of the taxonomy only what the kind reads.
    """
    roles = hashed_roles(kind, inputs)
    described = _hashed_parameters(kind, parameters, settings)
    hashed = _hashed(kind, roles, described, settings, subject)
    unread = kind.unread(parameters) if kind.unread else ()
    hashed["parameters"] = {key: value for key, value in hashed["parameters"].items() if key not in unread}
    if read := [part for part in kind.taxonomy if part not in unread]:
        hashed["taxonomy"] = settings.taxonomy.parts(read)
    former_parents = {role: parent.former for role, parent in roles.parents.items()}
    identity = Identity(
        kind.rule_of(parameters),
        # A key is a folder and a word of the workflow; a split may be called anything.
        re.sub(r"[^a-z0-9._-]", "-", label.lower()),
        hashed,
        digest_of(hashed),
        former_digest(hashed, former_parents, described, settings.taxonomy),
    )
    key, former = settings.finished.key_of(identity)
    record = StageRecord(
        kind=kind.name,
        rule=identity.rule,
        key=key,
        digest=identity.digest,
        former=former,
        label=identity.label,
        seed=settings.seed if kind.seeded else None,
        determinism=settings.determinism,
        parameters=parameters,
        parents={role: ArtifactRef(rule=one.rule, key=one.key) for role, one in roles.parents.items()},
        domains=dict(roles.domains),
        selection=roles.selection,
        network=subject if isinstance(subject, PlannedNetwork) else None,
        data=subject if isinstance(subject, PlannedData) else None,
        hashed=hashed,
        run=settings.run,
    )
    return Stage(record, roles.parents, former or identity.former)


def _hashed(
    kind: Kind,
    roles: Roles,
    parameters: dict[str, Any],
    settings: StageSettings,
    subject: PlannedNetwork | PlannedData | None,
) -> dict[str, Any]:
    """All that is hashed of a stage besides the taxonomy, read or not."""
    hashed: dict[str, Any] = {
        "kind": kind.name,
        "version": kind.version,
        "parents": {role: parent.digest for role, parent in sorted(roles.parents.items())},
        "parameters": parameters | roles.parts,
    }
    if isinstance(subject, PlannedNetwork):
        hashed["parameters"] |= _hashed_network(subject)
    if isinstance(subject, PlannedData):
        hashed["data"] = subject.identity
    if kind.seeded:
        hashed["seed"] = settings.seed
    return hashed


def _hashed_parameters(kind: Kind, parameters: BaseModel, settings: StageSettings) -> dict[str, Any]:
    values = parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if settings.determinism == "exact":
        return values
    hashed = {key: value for key, value in values.items() if key not in kind.free_in_fast}
    return hashed | {"determinism": settings.determinism}


def _hashed_network(subject: PlannedNetwork) -> dict[str, Any]:
    network = subject.parameters.model_dump(mode="json", exclude_defaults=True)
    if weights := network.get("weights"):
        # The checksum says what the file holds; where it lies changes nothing, nor does what it may be used for.
        unread = {"license", "source"} if weights.get("sha256") else {"license"}
        network["weights"] = {key: value for key, value in weights.items() if key not in unread}
    return {"network": network, "num_classes": subject.num_classes}


def in_order(stages: Iterable[Stage]) -> Iterator[Stage]:
    """Yield the stages and all their ancestors once each, parents before children."""
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        if stage.key in seen:
            return
        seen.add(stage.key)
        for _, parent in sorted(stage.parents.items()):
            yield from visit(parent)
        yield stage

    for stage in stages:
        yield from visit(stage)
