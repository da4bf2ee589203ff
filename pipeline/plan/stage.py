"""A planned stage and its key."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.artifacts.files import digest_of
from pipeline.stages.kinds import KINDS, rule_of


@dataclass(frozen=True)
class Stage:
    """One unit of work: kind + parameters + parents -> one artifact.

    `hashed` is everything that made the digest; `parameters` is complete, defaults included. `data` is what
    `prepare` needs to find its files and is not hashed (the data identity in `hashed` stands for it).
    """

    key: str
    digest: str
    kind: str
    rule: str
    label: str
    seed: int | None
    parents: Mapping[str, "Stage"]
    parameters: Mapping[str, Any]
    hashed: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)


def make_stage(
    kind: str,
    label: str,
    parameters: Mapping[str, Any],
    hashed_parameters: Mapping[str, Any],
    parents: Mapping[str, Stage],
    *,
    seed: int | None = None,
    data: Mapping[str, Any] | None = None,
    identity: str | None = None,
) -> Stage:
    """Make a stage and its key `<label>-<12 hex>`; the label is for people and not hashed.

    `hashed_parameters` holds only what differs from its default. The digest is SHA-256 over canonical JSON.
    """
    hashed: dict[str, Any] = {
        "kind": kind,
        "version": KINDS[kind].version,
        "parents": {role: parent.digest for role, parent in sorted(parents.items())},
        "parameters": dict(hashed_parameters),
    }
    if identity is not None:
        hashed["data"] = identity
    if KINDS[kind].seeded:
        hashed["seed"] = seed
    digest = digest_of(hashed)
    # A key is a folder and a word of the workflow; a split may be called anything.
    label = re.sub(r"[^a-z0-9._-]", "-", label.lower())
    return Stage(
        key=f"{label}-{digest[:12]}",
        digest=digest,
        kind=kind,
        rule=rule_of(kind, parameters),
        label=label,
        seed=seed if KINDS[kind].seeded else None,
        parents=dict(parents),
        parameters=dict(parameters),
        hashed=hashed,
        data=dict(data or {}),
    )


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
