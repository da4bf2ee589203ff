"""Arrays by name in a few large files: the format of caches, pseudo-labels and argmax maps.

`<prefix>-00000.bin`, ... hold the bytes of `per_shard` uint8 arrays each, one after the other; `<prefix>.csv`
says for every name where its array lies, its shape and its SHA-256. Readers map the shards into memory, so
that the operating system's page cache is the only cache and processes share it.

A shard is also the unit of work: shards are written in any order, by any number of processes, into `state`,
each whole or not at all, and `finish` renames them. So a killed writer loses one shard, nothing is written
twice, and the files depend only on the arrays, their names and `per_shard`.
"""

import contextlib
import csv
import hashlib
import io
import mmap
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import (
    digest_of,
    is_leftover,
    make_folder,
    read_json,
    replacing,
    write_json,
    write_text,
)

RECORDS_PER_SHARD = 64
"""For images of usual sizes: a shard takes seconds and a shard has tens to hundreds of megabytes."""

_COLUMNS = ("name", "shape", "shard", "offset", "sha256")
_OPEN_SHARDS = 64

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """Where one array lies: shape, number of the shard, first byte in it, and the digest of its bytes."""

    name: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return int(np.prod(self.shape, dtype=np.int64))

    def row(self) -> tuple[str, str, str, str, str]:
        """The entry as a line of the index."""
        return self.name, "x".join(map(str, self.shape)), str(self.shard), str(self.offset), self.sha256


def array_digest(array: Pixels) -> str:
    """SHA-256 of an array's bytes in C order, in hex."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


class RecordWriter:
    """Writes the records `names` (in that order) as `<prefix>-*.bin` and `<prefix>.csv` into `folder`.

    Shards in the making lie in `state`. Shards left there by another list of names are dropped.
    """

    def __init__(
        self, folder: Path, prefix: str, state: Path, names: Sequence[str], per_shard: int = RECORDS_PER_SHARD
    ) -> None:
        if len(set(names)) < len(names):
            raise ValueError(f"{prefix}: names must be unique")
        self.folder, self.prefix, self.state = folder, prefix, state
        self.names = tuple(names)
        self.per_shard = per_shard
        make_folder(folder)
        make_folder(state)
        self._drop_leftovers()
        self._drop_shards_of_other_names()

    def _drop_leftovers(self) -> None:
        """Remove what killed writers left of unfinished shards: each may have hundreds of megabytes."""
        for path in self.state.iterdir():
            if is_leftover(path) and f"-{self.prefix}-" in path.name:
                path.unlink(missing_ok=True)

    def _drop_shards_of_other_names(self) -> None:
        plan = {"names": digest_of(self.names), "per_shard": self.per_shard}
        path = self.state / f"{self.prefix}-plan.json"
        if not path.exists() or read_json(path) != plan:
            for stale in [
                *self.state.glob(f"{self.prefix}-[0-9]*"),
                *self.folder.glob(f"{self.prefix}-[0-9]*.bin"),
            ]:
                stale.unlink()
            write_json(path, plan)

    def shards(self) -> range:
        """Numbers of all shards."""
        return range(-(-len(self.names) // self.per_shard))

    def shard_names(self, shard: int) -> tuple[str, ...]:
        """The names whose arrays a shard takes, in order."""
        return self.names[shard * self.per_shard : (shard + 1) * self.per_shard]

    def missing_shards(self) -> list[int]:
        """Shards that are still to be written, in order."""
        return [shard for shard in self.shards() if not self.is_written(shard)]

    def is_written(self, shard: int) -> bool:
        """Whether a shard is there and whole."""
        if not self._rows(shard).exists():
            return False
        return self._data(shard).exists() or self._final(shard).exists()

    def _rows(self, shard: int) -> Path:
        return self.state / f"{self.prefix}-{shard:05d}.csv"

    def _data(self, shard: int) -> Path:
        return self.state / f"{self.prefix}-{shard:05d}.bin"

    def _final(self, shard: int) -> Path:
        return self.folder / f"{self.prefix}-{shard:05d}.bin"

    def write_shard(self, shard: int, arrays: Iterable[Pixels]) -> None:
        """Write one shard from its arrays in the order of `shard_names`; ValueError for another number."""
        with self.shard(shard) as writer:
            for array in arrays:
                writer.add(array)

    @contextlib.contextmanager
    def shard(self, shard: int) -> Iterator["ShardWriter"]:
        """A shard that takes its arrays one by one and appears when the body ends well, or not at all."""
        self.drop(shard)
        with replacing(self._data(shard)) as temporary:
            with temporary.open("wb") as file:
                writer = ShardWriter(file, shard, self.shard_names(shard))
                yield writer
                entries = writer.whole()
            self._rows(shard).unlink(missing_ok=True)
        # The rows come last and mark the shard as written.
        write_text(self._rows(shard), _as_csv(entries))

    def drop(self, shard: int) -> None:
        """Forget a shard, so that it counts as missing."""
        for path in (self._rows(shard), self._data(shard), self._final(shard)):
            path.unlink(missing_ok=True)

    def finish(self) -> str:
        """Move the shards into the folder, write the index, and return the digest of all contents.

        ValueError when a shard is missing. Shards stay countable until the index is written, so that a kill in
        between costs nothing.
        """
        if self.missing_shards():
            raise ValueError(f"{self.prefix}: shards {self.missing_shards()[:5]} are still to be written")
        entries = [entry for shard in self.shards() for entry in _read_rows(self._rows(shard))]
        for shard in self.shards():
            if self._data(shard).exists():
                self._data(shard).replace(self._final(shard))
        write_text(self.folder / f"{self.prefix}.csv", _as_csv(entries))
        return contents_digest(entries)


class ShardWriter:
    """The open file of one shard."""

    def __init__(self, file: BinaryIO, shard: int, names: Sequence[str]) -> None:
        self._file, self._shard, self._names = file, shard, names
        self._entries: list[Entry] = []
        self._offset = 0

    def add(self, array: Pixels) -> None:
        """Append the array of the next name; TypeError unless it is uint8."""
        if array.dtype != np.uint8:
            raise TypeError(f"records are uint8, found {array.dtype}")
        if len(self._entries) == len(self._names):
            raise ValueError(f"shard {self._shard} takes {len(self._names)} arrays")
        whole = np.ascontiguousarray(array)
        name = self._names[len(self._entries)]
        self._entries.append(Entry(name, whole.shape, self._shard, self._offset, array_digest(whole)))
        self._file.write(whole.data)
        self._offset += whole.nbytes

    def whole(self) -> list[Entry]:
        """The entries written; ValueError when some are missing."""
        if len(self._entries) < len(self._names):
            raise ValueError(f"shard {self._shard} needs {len(self._names)} arrays, got {len(self._entries)}")
        return self._entries


def contents_digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over names, shapes and digests in order: the same whatever the shards."""
    return digest_of([[entry.name, list(entry.shape), entry.sha256] for entry in entries])


def _as_csv(entries: Iterable[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(entry.row() for entry in entries)
    return text.getvalue()


def _read_rows(path: Path) -> list[Entry]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if tuple(rows[0]) != _COLUMNS:
            raise ValueError(f"its columns are {', '.join(rows[0])}")
        return [
            Entry(name, tuple(int(side) for side in shape.split("x")), int(shard), int(offset), digest)
            for name, shape, shard, offset, digest in rows[1:]
        ]
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing") from error
    except (ValueError, IndexError, csv.Error) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error


class Records:
    """Read access to records, by place or name; arrays are read-only views of the mapped files.

    Opening reads the index only. Instances may be sent to other processes, which map the files anew.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        self.entries = _read_rows(folder / f"{prefix}.csv")
        self._places = {entry.name: place for place, entry in enumerate(self.entries)}
        self.names = tuple(self._places)
        """Names in order."""
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def digest(self) -> str:
        """SHA-256 over names, shapes and the digests of the index."""
        return contents_digest(self.entries)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def index_of(self, name: str) -> int:
        """Place of a name; KeyError when there is none."""
        if name not in self._places:
            raise KeyError(f"{self.folder}: {self.prefix} holds no record `{name}`")
        return self._places[name]

    def __getitem__(self, place: int) -> Pixels:
        entry = self.entries[place]
        mapped = self._shard(entry.shard)
        if entry.offset + entry.size > len(mapped):
            raise ArtifactError(f"{self._path(entry.shard)} is shorter than its index says; make it again")
        flat = np.frombuffer(mapped, dtype=np.uint8, count=entry.size, offset=entry.offset)
        return flat.reshape(entry.shape)

    def _path(self, shard: int) -> Path:
        return self.folder / f"{self.prefix}-{shard:05d}.bin"

    def _shard(self, shard: int) -> mmap.mmap:
        if shard in self._maps:
            self._maps.move_to_end(shard)
            return self._maps[shard]
        path = self._path(shard)
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError) as error:
            raise ArtifactError(f"{path} is missing or empty; make it again") from error
        self._maps[shard] = mapped
        if len(self._maps) > _OPEN_SHARDS:
            self._maps.popitem(last=False)  # arrays that still look at it keep it alive
        return mapped

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_maps": OrderedDict()}
