"""What the files of a split held when they were prepared, and whether they hold the same now.

The identity of data is made of names and sizes. Beside a prepared artifact lie size, time and SHA-256 of every file,
so that a file that was replaced by one of the same size is found by its time, and told from a mere copy by its content.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.artifacts.errors import ArtifactError, DataError, Interrupted, StateError
from pipeline.artifacts.files import StorageError, digest_of, read_json, sha256_file, write_json
from pipeline.datasets.items import Listing
from pipeline.datasets.spec import DatasetSpec

CONTENTS = "contents.json"
"""In the folder `run/` of a prepared artifact."""
MASK = "mask "

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds."""


def source_files(spec: DatasetSpec, listing: Listing) -> dict[str, Path]:
    """The files that a listed split is made of, by the names that the listing gives them; drawn images have none."""
    root = spec.resolved_root()
    return {
        name: spec.resolved(name.removeprefix(MASK)) if name.startswith(MASK) else root / name
        for name, _ in listing.files
    }


def stamps_of(files: Mapping[str, Path]) -> dict[str, Stamp]:
    """Size and time of each file."""
    return {name: _stamp(path) for name, path in files.items()}


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return -1, 0  # whoever reads it says why it cannot be
    return status.st_size, status.st_mtime_ns


def _hash(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; fix it or bring it back") from error


def hashes_of(paths: Iterable[Path], workers: int, stop: Callable[[], Any] = lambda: None) -> list[str]:
    """SHA-256 of each file, `workers` at a time; Interrupted when `stop` says why to end."""

    def hashed(path: Path) -> str | None:
        return None if stop() else _hash(path)

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(hashed, paths))
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        raise Interrupted(f"{len(known)} of {len(found)} files are read again: {stop()}")
    return known


@dataclass
class Contents:
    """`contents.json`: `made`, digest of what was prepared; `files`: size, time and SHA-256 as last seen, by name."""

    made: str
    files: dict[str, tuple[int, int, str]]

    @classmethod
    def noted(cls, before: Mapping[str, Stamp], files: Mapping[str, Path], hashes: Iterable[str]) -> Self:
        """What was prepared, from stamps taken before; StateError for a file that changed meanwhile."""
        for name, path in files.items():
            if _stamp(path) != before[name]:
                raise StateError(
                    f"{path} changed while it was prepared; start again when nobody writes there"
                )
        found = {name: (*before[name], sha256) for name, sha256 in zip(files, hashes, strict=True)}
        return cls(_digest(found), found)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What was noted beside an artifact; None where nothing was, or it is damaged."""
        try:
            content = read_json(path)
            files = {str(name): (int(a), int(b), str(c)) for name, (a, b, c) in content["files"].items()}
            return cls(str(content["made"]), files)
        except (ArtifactError, AttributeError, KeyError, TypeError, ValueError):
            return None  # of a former version: the size alone says then what a file is

    def write(self, path: Path) -> None:
        """Write what was last seen."""
        write_json(path, {"made": self.made, "files": self.files})

    @property
    def now(self) -> str:
        """Digest of what the files held when last seen; `made` where that is what was prepared."""
        return _digest(self.files)

    def touched(self, files: Mapping[str, Path]) -> list[str]:
        """Names of the files whose size or time is not as last seen."""
        stamps = stamps_of(files)
        return [name for name, stamp in stamps.items() if self.files.get(name, ())[:2] != stamp]

    def look_again(self, files: Mapping[str, Path], workers: int = 8) -> list[str]:
        """Read files and note what they hold; returns the names of those that held something else when last seen."""
        stamps, hashes = stamps_of(files), hashes_of(files.values(), workers)
        found = {name: (*stamps[name], sha256) for name, sha256 in zip(files, hashes, strict=True)}
        other = [name for name, (*_, sha256) in found.items() if self.files.get(name, ("",))[-1] != sha256]
        self.files |= found
        return other


def _digest(files: Mapping[str, tuple[int, int, str]]) -> str:
    return digest_of({name: sha256 for name, (_, _, sha256) in files.items()})


def remember(contents: Contents, path: Path) -> None:
    """Write what was seen; where the results are somebody else's, the next look reads the files once more."""
    try:
        contents.write(path)
    except StorageError:
        return
