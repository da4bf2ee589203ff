"""Reading an archive: everything that could be wrong with it is found before anything of it is put in place."""

import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pydantic import ValidationError

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import (
    digest_of,
    flush_to_disk,
    make_folder,
    read_json,
    sha256_file,
    storage_error,
)
from pipeline.artifacts.folder import FILES, ArtifactFolder
from pipeline.artifacts.program import program
from pipeline.report.archive import FORMAT, TABLE, ArchiveTable, FileEntry, misplaced
from pipeline.stages.results import Results

LARGEST_TABLE = 256 * 2**20  # bytes
_PIECE = 2**20  # bytes
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


def check(archive: Path) -> ArchiveTable:
    """Read the whole archive and return its table; nothing is written.

    ArtifactError: no archive, of a newer format, or a member that is misplaced, no plain file, not in the table,
    there twice, missing, or not of the size and SHA-256 that the table says.
    """
    with _opened(archive) as (table, members):
        for member, content in members:
            _copy(archive, member.name, content, table.files[member.name], None)
    return table


def unpack(archive: Path, folder: Path) -> None:
    """Write the members of an archive below `folder`, with their times; raises as `check`, and StorageError.

    Every artifact is loaded there once: its own table has to say what the archive's says.
    """
    with _opened(archive) as (table, members):
        for member, content in members:
            path = folder / member.name
            make_folder(path.parent)
            _copy(archive, member.name, content, table.files[member.name], path)
            os.utime(path, (member.mtime, member.mtime))
    for artifact in table.artifacts():
        found = ArtifactFolder(folder / artifact).load()
        if (found["key"], found["digest"]) != (PurePosixPath(artifact).name, table.digest(artifact)):
            raise _refused(archive, f"{artifact} says that it is {found['key']}, {found['digest'][:12]}")


def check_place(archive: Path, table: ArchiveTable, root: Path) -> None:
    """ArtifactError where something else stands below `root` in the place of an artifact, or of a run's folder."""
    for artifact in table.artifacts():
        if problem := _artifact_problem(root / artifact, table.digest(artifact)):
            raise _refused(archive, f"{root / artifact} {problem}")
    for seed in table.seeds:
        metrics = Results().metrics(table.experiment, seed)
        path, entry = root / metrics, table.files.get(metrics.as_posix())
        if entry is None:
            raise _refused(archive, f"{metrics} is missing; get the file again")
        if path.parent.exists() and not (path.is_file() and sha256_file(path) == entry.sha256):
            raise _refused(archive, f"{path.parent} shows other results; move it away, or remove it")


def _artifact_problem(folder: Path, digest: str) -> str | None:
    if not folder.exists():
        return None
    clean = f"`{program()} clean {folder.name} --yes` removes it"
    if not (folder / FILES).is_file():
        return f"is unfinished here; {clean}"
    found = digest_of(read_json(folder / FILES)["files"])
    return None if found == digest else f"has other content ({found[:12]} instead of {digest[:12]}); {clean}"


Members = Iterator[tuple[tarfile.TarInfo, IO[bytes]]]


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[ArchiveTable, Members]]:
    """An archive's table and its members in order, each checked by its head; what cannot be read is an ArtifactError."""
    try:
        with tarfile.open(archive, "r|*") as tar:
            table = _table(archive, tar)
            yield table, _members(archive, tar, table)
    except FileNotFoundError as error:
        raise ArtifactError(f"{error.filename}: there is no such file") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _refused(archive, f"no archive, or only a part of one ({error}); get the file again") from error


def _table(archive: Path, tar: tarfile.TarFile) -> ArchiveTable:
    first = tar.next()
    if first is None or first.name != TABLE or first.type not in _PLAIN or first.size > LARGEST_TABLE:
        raise _refused(archive, f"does not begin with {TABLE}; `{program()} archive` makes such files")
    try:
        values = json.loads(_content(tar, first).read())
        newer = int(values["format"]) > FORMAT
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refused(archive, f"{TABLE} is damaged ({error}); get the file again") from error
    if newer:
        raise _refused(
            archive,
            f"format {values['format']}: a newer version made it; this one reads up to {FORMAT}: update",
        )
    return _validated(archive, values)


def _validated(archive: Path, values: Any) -> ArchiveTable:
    try:
        table = ArchiveTable.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(map(str, first["loc"]))
        raise _refused(archive, f"{TABLE}: {location}: {first['msg']}; get the file again") from error
    for name in table.files:
        if why := misplaced(name):
            raise _refused(archive, f"{name!r} {why}")
    return table


def _members(archive: Path, tar: tarfile.TarFile, table: ArchiveTable) -> Members:
    """The members after the table; ArtifactError where they are not those that it says."""
    waiting = dict.fromkeys(table.files)
    for member in tar:
        if member.name == TABLE and member.offset == 0:
            continue
        if member.type not in _PLAIN:
            raise _refused(archive, f"{member.name!r} is no plain file, but a link, a folder or a device")
        if member.name not in waiting:
            why = misplaced(member.name) or f"is there twice, or not in {TABLE}"
            raise _refused(archive, f"{member.name!r} {why}")
        del waiting[member.name]
        yield member, _content(tar, member)
    if waiting:
        raise _refused(
            archive, f"{next(iter(waiting))} is missing, of {len(waiting)} files; get the file again"
        )


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None, "a plain file has a content"
    return content


def _copy(archive: Path, name: str, content: IO[bytes], entry: FileEntry, path: Path | None) -> None:
    """Read a member to its end and write it as `path`; ArtifactError unless it is as the table says."""
    digest, size = hashlib.sha256(), 0
    try:
        with nullcontext() if path is None else path.open("xb") as file:
            while size <= entry.size and (piece := content.read(_PIECE)):
                digest.update(piece)
                size += len(piece)
                if file is not None:
                    file.write(piece)
        if path is not None:
            flush_to_disk(path)
    except OSError as error:
        raise storage_error(path or archive, error) from error
    if (size, digest.hexdigest()) != (entry.size, entry.sha256):
        what = f"{size} bytes instead of {entry.size}" if size != entry.size else "another SHA-256"
        raise _refused(archive, f"{name} is not what {TABLE} says: {what}; get the file again")


def _refused(archive: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{archive}: {why}")
