"""Which pictures a folder of predictions holds: an index by picture, so that time stamps of maps decide nothing.

`predicted.jsonl` has one line per picture, appended when its maps are written; the last line of a picture counts,
and a line that a kill cut off counts as none.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import digest_of, sha256_file, storage_error, why_no_file, write_text
from pipeline.inference.prediction import Model

INDEX = "predicted.jsonl"


@dataclass(frozen=True)
class Entry:
    """A picture as it was when it was predicted, and its maps: `output` below each folder of `kinds`."""

    image: str
    bytes: int
    time_ns: int
    sha256: str
    output: str
    kinds: tuple[str, ...]

    def files(self) -> set[str]:
        """The maps, relative to the folder of predictions."""
        return {f"{kind}/{self.output}" for kind in self.kinds}

    def line(self) -> str:
        """The entry as a line of the index; any name is possible."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


class PredictedIndex:
    """The index of one folder of predictions, in memory and on the disk."""

    def __init__(self, out: Path) -> None:
        self.path = out / INDEX
        self._entries: dict[str, Entry] = {}
        self._image_of: dict[str, str] = {}  # by output: a long index is not searched for each line
        if why := why_no_file(self.path):
            raise ArtifactError(f"{self.path} is damaged: {why}")
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._keep(_entry(line))

    def _keep(self, entry: Entry | None) -> None:
        if entry is None:
            return
        # Maps that were written over belong to their last picture.
        self.forget([entry.image, self._image_of.get(entry.output, entry.image)])
        self._entries[entry.image] = entry
        self._image_of[entry.output] = entry.image

    def get(self, image: str) -> Entry | None:
        """The entry of a picture, by its path below the pictures' folder."""
        return self._entries.get(image)

    def add(self, entry: Entry) -> None:
        """Note a picture whose maps are written."""
        self._keep(entry)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(entry.line())
        except OSError as error:
            raise storage_error(self.path, error) from error

    def forget(self, images: Iterable[str]) -> None:
        """Drop pictures: their maps belong to nothing any more."""
        for image in images:
            entry = self._entries.pop(image, None)
            if entry is not None:
                del self._image_of[entry.output]

    def rewrite(self) -> None:
        """Write one line per picture."""
        write_text(self.path, "".join(entry.line() for entry in self._entries.values()))

    def images(self) -> set[str]:
        """The pictures."""
        return set(self._entries)


def _entry(line: str) -> Entry | None:
    try:
        values = json.loads(line)
        return Entry(**{**values, "kinds": tuple(values["kinds"])})
    except (ValueError, TypeError, KeyError):
        return None


def entry_of(picture: Path, image: str, output: str, kinds: Iterable[str]) -> Entry:
    """The entry of a picture as it is now."""
    status = picture.stat()
    return Entry(
        image, status.st_size, status.st_mtime_ns, sha256_file(picture), output, tuple(sorted(kinds))
    )


def is_unchanged(picture: Path, entry: Entry) -> bool:
    """Whether a picture is the one of the entry: by size and time, and where only the time differs by its content."""
    try:
        status = picture.stat()
        if status.st_size != entry.bytes:
            return False
        return status.st_mtime_ns == entry.time_ns or sha256_file(picture) == entry.sha256
    except OSError:
        return False  # reading it for prediction tells why


def model_digest(model: Model) -> str:
    """SHA-256 of all that decides a prediction: tensors, architecture, classes with their colors, working size."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    rest = [
        model.network.parameters_spec.model_dump(mode="json"),
        model.taxonomy.model_dump(mode="json"),
        list(model.working_size),
    ]
    return digest_of([digest.hexdigest(), rest])
