"""The folder of one artifact: its files, their checksums and the manifest that other stages read.

    results/<kind>/<key>/
        ...            the artifact's own files
        files.json     size and SHA-256 of each of them, and the header; written after all of them
        artifact.json  the manifest, the only output a workflow rule declares; made from files.json
        state/         training state, gone once the manifest is written
        run/           lock, logs, times; never part of the digest

The digest covers the table of files only, so it is the same wherever and however often they were made.

Files above 64 MiB are not hashed again by each reader: `run/verified.json` remembers the SHA-256 found for a
size, modification time and inode. The price is that damage which leaves all three as they were (a failing
disk) goes unseen by `load`; `audit` hashes everything and sees it.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import (
    StorageError,
    digest_of,
    flush_to_disk,
    is_leftover,
    read_json,
    sha256_file,
    write_json,
)
from pipeline.artifacts.program import program

MANIFEST = "artifact.json"
FILES = "files.json"
MEMO = "verified.json"
REMEMBERED_FROM = 64 * 2**20  # bytes; smaller files are hashed each time
HASHED_IN_TOTAL = 4 * 2**30  # bytes; beyond it `load` compares sizes only, smallest files first

_NOT_DATA = frozenset({MANIFEST, FILES, "state", "run"})


class ArtifactFolder:
    """One artifact's folder, finished or in the making; its name is the artifact's key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state"
        self.run = path / "run"

    def is_whole(self) -> bool:
        """Whether the stage has finished: files.json is there and every file is as it says.

        The manifest need not exist, for Snakemake deletes it before and after jobs.
        """
        return (self.path / FILES).exists() and not self.problems()

    def publish(self, header: dict[str, Any]) -> dict[str, Any]:
        """Finish the artifact: flush and hash its files, write the manifest, remove the training state.

        `header` is JSON (key, kind, version, parents and their digests, a summary). Returns the manifest:
        the header with `digest` and `files`. ArtifactError when a link lies among the files, or the header
        uses these two names.
        """
        taken = sorted({"digest", "files"} & set(header))
        if taken:
            raise ArtifactError(f"the header of {self.path} may not name {', '.join(taken)}")
        table = {}
        for path in self._data_files():
            flush_to_disk(path)
            table[path.relative_to(self.path).as_posix()] = self._measure(path)
        content = {"header": header, "files": table}
        write_json(self.path / FILES, {**content, "checksum": digest_of(content)})
        return self.restore_manifest()

    def restore_manifest(self) -> dict[str, Any]:
        """Write artifact.json again from files.json; remove the training state and what kills left over."""
        manifest = self._manifest()
        write_json(self.path / MANIFEST, manifest)
        for path in [path for path in self._below(self.path) if is_leftover(path)]:
            path.unlink()
        if self.state.exists():
            shutil.rmtree(self.state)
        return manifest

    def load(self) -> dict[str, Any]:
        """The manifest of a finished artifact after its files were checked.

        ArtifactError names the damaged, missing or altered file and the command that makes it anew.
        """
        if not (self.path / MANIFEST).exists():
            raise ArtifactError(
                f"{self.path / MANIFEST} is missing: the stage has not finished; run it first"
            )
        found = self.problems()
        if found:
            raise ArtifactError(self._refusal(found))
        manifest = self._manifest()
        if read_json(self.path / MANIFEST) != manifest:
            raise ArtifactError(self._refusal([f"{MANIFEST} was altered: it differs from {FILES}"]))
        return manifest

    def problems(self) -> list[str]:
        """What is wrong with the files, one line each; large files by the memo, the rest by their hash."""
        return self._compare(HASHED_IN_TOTAL, self._memo())

    def audit(self) -> list[str]:
        """What is wrong with the files, every one hashed again however large it is."""
        return self._compare(None, {})

    def _compare(self, budget: int | None, memo: dict[str, Any]) -> list[str]:
        try:
            table = self._read_files()["files"]
        except ArtifactError as error:
            return [str(error)]
        found = []
        for name, entry in sorted(table.items(), key=lambda item: (item[1]["size"], item[0])):
            hashed = budget is None or entry["size"] <= budget
            if budget is not None:
                budget -= entry["size"]
            problem = self._compare_file(name, entry, hashed, memo)
            if problem:
                found.append(problem)
        return found

    def _compare_file(
        self, name: str, entry: dict[str, Any], hashed: bool, memo: dict[str, Any]
    ) -> str | None:
        path = self.path / name
        if not path.is_file() or path.is_symlink():
            return f"{name} is missing"
        size = path.stat().st_size
        if size != entry["size"]:
            return f"{name} was altered: {size} bytes instead of {entry['size']}"
        if not hashed or memo.get(name) == [*_identity(path), entry["sha256"]]:
            return None
        try:
            measured = self._measure(path)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        return None if measured == entry else f"{name} was altered: its SHA-256 is not that of {FILES}"

    def _measure(self, path: Path) -> dict[str, Any]:
        before = _identity(path)
        digest = sha256_file(path)
        if before[0] > REMEMBERED_FROM and before == _identity(path):
            self._remember(path.relative_to(self.path).as_posix(), [*before, digest])
        return {"size": before[0], "sha256": digest}

    def _remember(self, name: str, entry: list[Any]) -> None:
        try:
            write_json(self.run / MEMO, {**self._memo(), name: entry})
        except StorageError:
            return  # someone else's read-only results, or a full disk: the next reader hashes once more

    def _memo(self) -> dict[str, Any]:
        try:
            memo = read_json(self.run / MEMO)
        except ArtifactError:
            return {}  # absent or damaged: nothing is remembered and all is hashed
        return memo if isinstance(memo, dict) else {}

    def _read_files(self) -> dict[str, Any]:
        content = read_json(self.path / FILES)
        intact = isinstance(content, dict) and content.keys() == {"header", "files", "checksum"}
        if not intact or content["checksum"] != digest_of({k: content[k] for k in ("header", "files")}):
            raise ArtifactError(f"{self.path / FILES} is damaged: its checksum does not fit")
        for name in content["files"]:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ArtifactError(f"{self.path / FILES} names a file outside the artifact: {name}")
        return content

    def _manifest(self) -> dict[str, Any]:
        content = self._read_files()
        return {**content["header"], "digest": digest_of(content["files"]), "files": content["files"]}

    def _data_files(self) -> Iterator[Path]:
        for path in sorted(self._below(self.path)):
            if path.is_symlink():
                raise ArtifactError(f"{path} is a link; an artifact holds files only")
            if not is_leftover(path):
                yield path

    def _below(self, folder: Path) -> Iterator[Path]:
        for entry in folder.iterdir():
            if folder == self.path and entry.name in _NOT_DATA:
                continue
            if entry.is_dir() and not entry.is_symlink():
                yield from self._below(entry)
            else:
                yield entry

    def _refusal(self, found: list[str]) -> str:
        lines = "\n".join(f"  {line}" for line in found)
        return (
            f"the finished artifact {self.path} is not as it was made:\n{lines}\n"
            f"Remove it with `{program()} clean {self.path.name}` and run Snakemake again."
        )


def _identity(path: Path) -> tuple[int, int, int]:
    stat = os.stat(path)  # noqa: PTH116 - one call, and the three numbers belong together
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
