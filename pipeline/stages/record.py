"""What `results/stages/<key>.json` says: a planned stage, written by the plan and read by jobs; free of torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    field_serializer,
    model_validator,
)

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import read_json
from pipeline.datasets.spec import DatasetSpec
from pipeline.networks.parameters import NetworkParameters
from pipeline.stages.kinds import KINDS
from pipeline.training.parameters import RunSettings

Part = Literal["easy", "hard"]


class Record(BaseModel):
    """Base of what the plan writes below `results/stages/`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def text(self) -> str:
        """The file's content: JSON with sorted keys."""
        values = self.model_dump(mode="json", by_alias=True)
        return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


Kept = TypeVar("Kept", bound=Record)


def read_record(path: Path, model: type[Kept]) -> Kept:
    """Read a file of `results/stages/`; ArtifactError when it is missing, damaged or of another version."""
    values = read_json(path)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(map(str, first["loc"])) or "(top)"
        raise ArtifactError(
            f"{path}: {location}: {first['msg']}: not a file that this version wrote; start the run again, which "
            "writes it anew, or remove it"
        ) from error


class ArtifactRef(Record):
    """Where a stage's artifact lies: `results/<rule>/<key>`."""

    rule: str
    key: str


class DomainRef(Record):
    """The images of a domain and their labels, by the roles of the stage's parents.

    `caches`: `prepare` stages. `split` and `part`: only that part of a split's images. `labels`: the
    `pseudolabel` stage that gives the labels, and says which images have one.
    """

    caches: tuple[str, ...]
    split: str | None = None
    part: Part | None = None
    labels: str | None = None


class PlannedNetwork(Record):
    """The network that a training builds."""

    parameters: NetworkParameters
    num_classes: int


class PlannedData(Record):
    """What `prepare` reads; in the key, `identity` stands for the dataset and its files."""

    identity: str
    dataset: DatasetSpec
    split: str

    @field_serializer("dataset")
    def _as_written(self, dataset: DatasetSpec) -> dict[str, Any]:
        return dataset.model_dump(mode="json", by_alias=True, exclude_unset=True)


class NetworkUsed(ArtifactRef):
    """Which network a stage used, as its summary notes it: the artifact, its digest and the snapshot's step."""

    digest: str
    step: int


class StageRecord(ArtifactRef):
    """A planned stage. `parameters` is complete and of the kind's class; `hashed` is all that made the digest.

    `key` names the folder that holds the digest; `former` is the digest by the former rule, where that gave the key.
    `parents`: by role, the name under which key and manifest have it. `selection`: role of the `select` stage that
    chooses the snapshot to start from. `network`: of trainings. `data`: of `prepare`. `run` is part of no key.
    """

    kind: str
    digest: str
    former: str | None = None
    label: str
    seed: int | None
    determinism: Literal["exact", "fast"]
    parameters: SerializeAsAny[BaseModel]
    parents: dict[str, ArtifactRef]
    domains: dict[str, DomainRef]
    selection: str | None = None
    network: PlannedNetwork | None = None
    data: PlannedData | None = None
    hashed: dict[str, Any]
    run: RunSettings

    @model_validator(mode="before")
    @classmethod
    def _parameters_of_the_kind(cls, values: Any) -> Any:
        given = values.get("parameters") if isinstance(values, Mapping) else None
        if not isinstance(given, Mapping):
            return values
        if values.get("kind") not in KINDS:
            raise ValueError(f"found kind {values.get('kind')!r}")
        return {**values, "parameters": KINDS[values["kind"]].parameters.model_validate(given)}

    @model_validator(mode="after")
    def _roles_exist(self) -> Self:
        named = [role for one in self.domains.values() for role in (*one.caches, one.split, one.labels)]
        for role in (*named, self.selection):
            if role is not None and role not in self.parents:
                raise ValueError(f"no parent has the role {role}")
        return self

    @classmethod
    def read(cls, path: Path) -> "StageRecord":
        """Read a stage file; ArtifactError when it is missing, damaged or of another version."""
        return read_record(path, cls)
