"""What every stage kind gets: its record, its parents' artifacts, its folder, and ways to log and to stop."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel

from pipeline.artifacts.cores import thread_count
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.stages.record import DomainRef, StageRecord
from pipeline.stages.results import Results
from pipeline.training.parameters import RunSettings

Parameters = TypeVar("Parameters", bound=BaseModel)


@dataclass(frozen=True)
class StageFile:
    """`results/stages/<key>.json` as the main process wrote it."""

    path: Path
    record: StageRecord

    @classmethod
    def read(cls, path: Path) -> "StageFile":
        """Read a stage file; ArtifactError when it is missing, damaged or of another version."""
        return cls(path, StageRecord.read(path))

    @property
    def results(self) -> Results:
        """The results folder that the stage file lies in."""
        return Results.around(self.path)

    @property
    def folder(self) -> ArtifactFolder:
        """The folder of the stage's artifact."""
        return self.results.folder(self.record)


@dataclass
class Job(Generic[Parameters]):
    """One running stage: `compute(run)` of its kind reads parents, writes files into `folder.path`, returns a summary."""

    file: StageFile
    settings: RunSettings
    log: logging.Logger
    stop: Callable[[], str | None]
    alone: bool = True
    set_margin: Callable[[Callable[[], float]], None] = lambda margin: None
    """Tells the interruption how many seconds before the deadline to stop."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Times, memory and the like for `run/history.json`; never part of a digest."""
    log_path: Path | None = None
    """The job's log file, for processes that this one starts."""

    @property
    def record(self) -> StageRecord:
        """The planned stage."""
        return self.file.record

    @property
    def key(self) -> str:
        """The stage's key."""
        return self.record.key

    @property
    def folder(self) -> ArtifactFolder:
        """Where the artifact is made."""
        return self.file.folder

    @property
    def out(self) -> Path:
        """The artifact's path."""
        return self.folder.path

    @property
    def parameters(self) -> Parameters:
        """The kind's parameters."""
        return cast(Parameters, self.record.parameters)

    @property
    def exact(self) -> bool:
        """Whether determinism is `exact`."""
        return self.record.determinism == "exact"

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The part of the task's taxonomy that the kind says it reads, which its key holds; KeyError for none."""
        return Taxonomy.of_parts(self.record.hashed["taxonomy"])

    @property
    def threads(self) -> int:
        """CPU threads of the stage's computations."""
        return thread_count(self.settings.threads, self.exact)

    def domain(self, name: str) -> DomainRef:
        """What a domain is made of; KeyError for one that the stage does not read."""
        return self.record.domains[name]

    def caches(self, name: str) -> list[ArtifactFolder]:
        """The artifacts that hold a domain's images; none for a domain that the stage does not read."""
        domain = self.record.domains.get(name)
        return [self.parent(role) for role in domain.caches] if domain else []

    def has_parent(self, role: str) -> bool:
        """Whether a parent of that role exists."""
        return role in self.record.parents

    def parent(self, role: str) -> ArtifactFolder:
        """The artifact folder of a parent (checked before the stage started)."""
        return self.file.results.folder(self.record.parents[role])

    @cached_property
    def parent_manifests(self) -> dict[str, dict[str, Any]]:
        """Every parent's manifest by role; ArtifactError names a damaged or altered file."""
        return {role: self.parent(role).load() for role in self.record.parents}

    def summary(self, role: str) -> dict[str, Any]:
        """What a parent's manifest says of its content."""
        summary: dict[str, Any] = self.parent_manifests[role]["summary"]
        return summary

    @property
    def parent_digests(self) -> dict[str, str]:
        """The digest of every parent's files by role."""
        return {role: manifest["digest"] for role, manifest in self.parent_manifests.items()}
