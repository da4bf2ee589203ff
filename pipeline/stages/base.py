"""What every stage kind gets: its stage file, its parents' artifacts, its folder, and ways to log and to stop."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import Interrupted
from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.stages.kinds import KINDS
from pipeline.training.parameters import RunSettings


@dataclass(frozen=True)
class StageFile:
    """`results/stages/<key>.json` as the main process wrote it."""

    path: Path
    record: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "StageFile":
        """Read a stage file; ArtifactError when it is missing or damaged."""
        return cls(path, read_json(path))

    @property
    def results(self) -> Path:
        """The results folder that the stage file lies in."""
        return self.path.resolve().parent.parent

    @property
    def folder(self) -> ArtifactFolder:
        """The folder of the stage's artifact."""
        return ArtifactFolder(self.results / self.record["rule"] / self.record["key"])


@dataclass
class StageRun:
    """One running stage: `compute(run)` of its kind reads parents, writes files into `folder.path`, returns a summary."""

    file: StageFile
    settings: RunSettings
    log: logging.Logger
    stop: Callable[[], str | None]
    alone: bool = True
    set_margin: Callable[[Callable[[], float]], None] = lambda margin: None
    """Tells the interruption how many seconds before the deadline to stop."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Times, memory and the like for `run/record.json`; never part of a digest."""
    log_path: Path | None = None
    """The job's log file, for processes that this one starts."""

    @property
    def key(self) -> str:
        """The stage's key."""
        return str(self.file.record["key"])

    @property
    def folder(self) -> ArtifactFolder:
        """Where the artifact is made."""
        return self.file.folder

    @property
    def out(self) -> Path:
        """The artifact's path."""
        return self.file.folder.path

    @property
    def raw(self) -> Mapping[str, Any]:
        """All parameters of the stage file, those that the planner added included."""
        parameters: Mapping[str, Any] = self.file.record["parameters"]
        return parameters

    @cached_property
    def parameters(self) -> Any:
        """The kind's validated parameters."""
        model = KINDS[self.file.record["kind"]].parameters
        known = {field.alias or name for name, field in model.model_fields.items()}
        return model.model_validate({key: value for key, value in self.raw.items() if key in known})

    @property
    def exact(self) -> bool:
        """Whether determinism is `exact`."""
        return bool(self.raw.get("determinism", "exact") == "exact")

    def has_parent(self, role: str) -> bool:
        """Whether a parent of that role exists."""
        return role in self.file.record["parents"]

    def parent_roles(self, role: str) -> list[str]:
        """`role`, `role.2`, `role.3`, ...: several sources share one role."""
        roles = self.file.record["parents"]
        return [role] * (role in roles) + sorted(
            (name for name in roles if name.startswith(f"{role}.")),
            key=lambda name: int(name.rsplit(".", 1)[1]),
        )

    def parent(self, role: str) -> ArtifactFolder:
        """The artifact folder of a parent (checked before the stage started)."""
        parent = self.file.record["parents"][role]
        return ArtifactFolder(self.file.results / parent["rule"] / parent["key"])

    @cached_property
    def parent_manifests(self) -> dict[str, dict[str, Any]]:
        """Every parent's manifest by role; ArtifactError names a damaged or altered file."""
        return {role: self.parent(role).load() for role in self.file.record["parents"]}

    def check_stop(self) -> None:
        """Raise Interrupted when the stage was asked to stop (finished parts are kept)."""
        reason = self.stop()
        if reason:
            raise Interrupted(reason)
