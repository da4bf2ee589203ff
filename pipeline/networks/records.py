"""What a network file's JSON says, read, checked and copied without torch."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import read_json, sha256_file, write_bytes, write_json
from pipeline.artifacts.program import program
from pipeline.networks.parameters import PROFILES, InputProfile, NetworkParameters
from pipeline.numerics import Precision
from pipeline.schema.strict import Strict


class NetworkRecord(Strict):
    """The JSON beside a network's tensors."""

    format: Literal[1] = 1
    network: NetworkParameters
    num_classes: Annotated[int, Field(ge=1)]
    profile: InputProfile
    precision: Precision = "float32"
    weights_license: str | None = None
    """Of the weights that the first training of the chain started from; None where unknown or none."""
    tensors_sha256: str
    meta: dict[str, Any]


def repair() -> str:
    """What to do about a network file that is not as it was written."""
    return f"remove it with `{program()} clean KEY` and run the stage again, or copy both files anew"


def record_path(path: Path) -> Path:
    """The JSON that belongs to a `.safetensors` file."""
    return path.with_suffix(".json")


def read_record(path: Path) -> NetworkRecord:
    """Read and check the JSON of the network at `path`, without its tensors."""
    beside = record_path(path)
    try:
        record = NetworkRecord.model_validate(read_json(beside))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ArtifactError(
            f"{beside}: not the record of a network of this version ({problems}); {repair()}"
        ) from error
    if record.profile != PROFILES.get(record.network.profile, record.profile):
        raise ArtifactError(
            f"{beside}: its input profile {record.profile.name} has other numbers than ours; {repair()}"
        )
    return record


def write_record(path: Path, record: NetworkRecord) -> None:
    """Write the JSON of the network at `path`; a licence only where one is known."""
    unsaid = {"weights_license"} if record.weights_license is None else set()
    write_json(record_path(path), record.model_dump(mode="json", exclude=unsaid))


def check_tensors(path: Path, record: NetworkRecord) -> None:
    """Raise ArtifactError where the tensors at `path` are missing or not those that the record describes."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing beside {record_path(path).name}; {repair()}")
    try:
        found = sha256_file(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; {repair()}") from error
    if found != record.tensors_sha256:
        raise ArtifactError(
            f"{path}: not the file that {record_path(path).name} describes, or damaged; {repair()}"
        )


def copy_network(path: Path, target: Path, meta: dict[str, Any]) -> None:
    """Copy a network, its tensors byte by byte, with another `meta`; ArtifactError for a damaged one."""
    record = read_record(path)
    check_tensors(path, record)
    write_bytes(target, path.read_bytes())
    write_record(target, record.model_copy(update={"meta": meta}))
