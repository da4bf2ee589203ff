"""Label maps that a pass hands over part by part, gathered into records once all are there."""

import json
from pathlib import Path

import numpy as np

from pipeline.artifacts.files import replacing
from pipeline.data.records import RecordWriter

PREFIX = "labels"


class _PartFile:
    """The maps of one part of a pass: raw bytes and, as the last line of a second file, what lies where."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays: list[tuple[str, np.ndarray]] = []

    def add(self, name: str, array: np.ndarray) -> None:
        """Take one map, uint8 (H, W)."""
        self.arrays.append((name, np.ascontiguousarray(array, dtype=np.uint8)))

    def close(self) -> None:
        """Write all maps of the part at once; the pass counts the part as finished only afterwards."""
        entries = [(name, array.shape) for name, array in self.arrays]
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            header = json.dumps(entries).encode()
            file.write(len(header).to_bytes(8, "little") + header)
            for _, array in self.arrays:
                file.write(array.data)
        self.arrays = []


class MapStore:
    """Collects the maps `names` of a resumable pass in `state`, then publishes them as records in `folder`."""

    def __init__(self, folder: Path, state: Path, names: list[str]) -> None:
        self.folder, self.state, self.names = folder, state, names
        self.parts = state / "maps"

    def open_part(self, start: int) -> _PartFile:
        """The writer of the part that begins at image `start`; an earlier file of it is replaced."""
        self.parts.mkdir(parents=True, exist_ok=True)
        return _PartFile(self.parts / f"part-{start:08d}.bin")

    def _places(self) -> dict[str, tuple[Path, int, tuple[int, ...]]]:
        places = {}
        for path in sorted(self.parts.glob("part-*.bin")):
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                offset = 8 + length
                for name, shape in json.loads(file.read(length)):
                    places[name] = (path, offset, tuple(shape))
                    offset += int(np.prod(shape))
        return places

    def finish(self) -> str:
        """Write the records in the order of `names`; returns the digest of their contents."""
        places = self._places()
        writer = RecordWriter(self.folder, PREFIX, self.state / "records", self.names)
        for part in writer.missing_parts():
            maps = (
                np.memmap(path, np.uint8, "r", offset, shape)
                for path, offset, shape in map(places.__getitem__, writer.part_names(part))
            )
            writer.write_part(part, maps)
        return writer.finish()
