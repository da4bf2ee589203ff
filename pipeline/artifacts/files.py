"""Whole files or none: written beside their final name, flushed to disk, then renamed.

    with replacing(folder / "scores.csv") as temporary:
        table.to_csv(temporary)

A process that is killed at any moment leaves the old file, the new one or a leftover whose name starts with
`.partial-`; `is_leftover` recognises it and `ArtifactFolder.publish` removes it. The leftover keeps the final
name's suffix, because some libraries choose the format by it.
"""

import contextlib
import errno
import hashlib
import json
import os
import pwd
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pipeline.artifacts.errors import ArtifactError

LEFTOVER_PREFIX = ".partial-"
NAME_BYTES = 255
"""The longest name that file systems allow."""

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and start the same command again",
    errno.EDQUOT: "your quota is used up; free some space and start the same command again",
    errno.EFBIG: "the file would pass the allowed size; raise the limit (ulimit -f) and start again",
    errno.EROFS: "the file system is read-only; choose another folder or mount it writable",
    errno.EACCES: "writing there is not permitted; choose another folder, or let its owner allow it",
    errno.EPERM: "writing there is not permitted; choose another folder, or let its owner allow it",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away",
    errno.EEXIST: "a file stands where a folder is needed; move it away",
    errno.EISDIR: "a folder stands where a file is needed; move it away",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose or give a shorter one",
}
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StorageError(ArtifactError):
    """The disk is full or a folder cannot be written; unlike bad input this ends when the disk is fixed."""


def storage_error(path: Path, error: OSError) -> StorageError:
    """The user's message for an `error` while writing `path`: what could not be written, why, what to do."""
    remedy = _REMEDIES.get(error.errno or 0, "fix the cause and start the same command again")
    owner = f" (it belongs to {_owner(path)})" if error.errno in (errno.EACCES, errno.EPERM) else ""
    return StorageError(f"cannot write {path}: {error.strerror or error}{owner}: {remedy}")


def _owner(path: Path) -> str:
    """Who owns the path, or the nearest folder above it that can be looked at."""
    for place in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            number = place.stat().st_uid
            try:
                return pwd.getpwuid(number).pw_name
            except KeyError:
                return f"user {number}"
    return "somebody else"


def temporary_beside(path: Path) -> Path:
    """A new recognisable name in the folder of `path`, with the same suffix; the end of the name, if it is long."""
    lead = f"{LEFTOVER_PREFIX}{secrets.token_hex(6)}-"
    return path.with_name(lead + os.fsdecode(os.fsencode(path.name)[len(lead) - NAME_BYTES :]))


def is_leftover(path: Path) -> bool:
    """Whether `path` is what a killed process left of a file that was never finished."""
    return path.name.startswith(LEFTOVER_PREFIX)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents; StorageError says what stands in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error


def check_writable(folders: Iterable[Path]) -> None:
    """Before anything is computed: StorageError for the first folder that can neither be written nor made.

    A folder that does not exist is judged by the one that it would be made in.
    """
    for folder in folders:
        try:
            place = _nearest(folder.absolute())
        except PermissionError as error:
            raise storage_error(folder, error) from error
        number = _obstacle(place)
        if number is not None:
            raise storage_error(place, OSError(number, os.strerror(number)))


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _obstacle(place: Path) -> int | None:
    """The error number that writing into `place` would meet."""
    if not place.is_dir():
        return errno.ENOTDIR
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return errno.EROFS
    # The effective user is who writes; the real one may be another.
    allowed = os.access(place, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    return None if allowed else errno.EACCES


def flush_to_disk(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the body ends well and vanishes when it raises.

    The parent folder is made, and the umask is honoured even where a library makes its files for the owner alone.
    StorageError names `path` when the disk is full or the folder not writable; what else the body raises passes
    unchanged.
    """
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:
            temporary.chmod(stat.S_IMODE(mode))
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        _raise_for(path, temporary, error)
    finally:
        with contextlib.suppress(OSError):  # a file system that is read-only has said so
            temporary.unlink(missing_ok=True)


def _raise_for(path: Path, temporary: Path, error: OSError) -> NoReturn:
    ours = error.filename is not None and Path(os.fsdecode(error.filename)) in (temporary, path.parent)
    if error.errno in _DISK_FULL or (ours and error.errno in _REMEDIES):
        raise storage_error(path, error) from error
    raise error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all; line ends stay as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON: sorted keys, one space of indent, a newline at the end.

    NaN and infinities raise ValueError, for no other program could read them.
    """
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    # Names of files may hold bytes that are no text: what the codec puts for them is their escape in JSON.
    write_bytes(path, f"{text}\n".encode(errors="backslashreplace"))


def why_no_file(path: Path) -> str | None:
    """Why `path` must not be opened: a folder, or what would be waited for without end; None if it may be tried."""
    # Not pathlib: these never raise.
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        return "no file, but a folder, a device or a pipe"
    return None


def read_json(path: Path) -> Any:
    """The value in a JSON file; ArtifactError names the file when it is missing, damaged or not to be read."""
    if why := why_no_file(path):
        raise ArtifactError(f"{path} is damaged: {why}")
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_constant)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: it is not valid JSON ({error})") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def canonical_json(value: Any) -> str:
    """The one text for `value` that all machines agree on: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:
    """SHA-256 in hex of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 in hex of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
