"""The one walk over a folder of pictures, for every verb: what is taken, and what is left out and why.

    found = find_files(root, ["photos/*/*.jpg"])        # what a dataset file's patterns match
    found = find_all_pictures(root)                     # every picture below a folder

Links to files and to folders are followed wherever they lead, but never in a circle. What looks like a picture
and is not taken (hidden, a broken link, a format that nothing here reads) is listed, so that nothing is missing
without a word. Folders are only read.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.artifacts.errors import DataError
from pipeline.datasets.patterns import Captures, file_expression, folder_expression

PICTURES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""Endings of the pictures that are read, in any case."""
UNREAD = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf",
    ".sr2", ".raf", ".orf", ".rw2", ".pef", ".raw", ".3fr", ".psd", ".psb", ".xcf", ".svg", ".eps", ".ai", ".pdf",
    ".exr", ".hdr", ".dds", ".tga", ".ico", ".dcm", ".nii", ".npy", ".npz", ".mat", ".mp4", ".mov", ".avi", ".mkv",
)  # fmt: skip
"""Endings of pictures, films and arrays that are not read; they are told as such."""
SHOWN = 3

HIDDEN = "hidden"
BROKEN = "a broken link"
CIRCLE = "a link to a folder that it lies in"
AGAIN = "a link to a folder that was read before"
NO_FILE = "no file (a device, a pipe or the like)"
OTHER = "no picture"


@dataclass(frozen=True)
class LeftOut:
    """A path below the root that was not taken, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class Found:
    """Files below the root with what the wildcards captured, sorted; what was left out; links to folders."""

    files: tuple[tuple[str, Captures], ...]
    left_out: tuple[LeftOut, ...] = ()
    links: tuple[LeftOut, ...] = ()
    """Links to folders that were followed, with where they lead."""

    def paths(self) -> tuple[str, ...]:
        """The files alone."""
        return tuple(path for path, _ in self.files)

    def beside(self, other: "Found") -> "Found":
        """The same files; what was left out and followed here or in the other walk."""
        left_out = dict.fromkeys((*self.left_out, *other.left_out))
        return Found(self.files, tuple(left_out), tuple(dict.fromkeys((*self.links, *other.links))))


def find_files(root: Path, patterns: Sequence[str]) -> Found:
    """All files that one of the patterns matches, each once; DataError for a folder that cannot be read."""
    return _joined(_Walk(root, pattern).run() for pattern in patterns)


def find_all_pictures(root: Path) -> Found:
    """Every file below `root` with the ending of a picture; DataError for a folder that cannot be read."""
    return _Walk(root, "**/*", pictures_only=True).run()


def describe_omissions(found: Iterable[LeftOut], links: Iterable[LeftOut] = ()) -> list[str]:
    """One line per reason: how many were left out, and the first of them; then the links that were followed."""
    reasons: dict[str, list[str]] = {}
    for one in found:
        reasons.setdefault(one.why, []).append(one.path)
    lines = [f"left out: {len(paths)}, {why}: {_some(paths)}" for why, paths in reasons.items()]
    followed = [f"{link.path} -> {link.why}" for link in links]
    return lines + ([f"links to folders followed: {len(followed)}: {_some(followed)}"] if followed else [])


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")


def _joined(walks: Iterable[Found]) -> Found:
    files: dict[str, Captures] = {}
    left_out: dict[str, LeftOut] = {}
    links: dict[str, LeftOut] = {}
    for walk in walks:
        files = {**dict(walk.files), **files}
        left_out |= {one.path: one for one in walk.left_out}
        links |= {one.path: one for one in walk.links}
    kept = (one for path, one in sorted(left_out.items()) if path not in files)
    return Found(tuple(sorted(files.items())), tuple(kept), tuple(links[path] for path in sorted(links)))


@dataclass(frozen=True)
class _Folder:
    """A folder below the root, the identities of the folders above it, and whether a link led here."""

    path: str
    above: frozenset[tuple[int, int]]
    linked: bool

    def child(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


@dataclass
class _Walk:
    """One pattern's way through the folders."""

    root: Path
    pattern: str
    pictures_only: bool = False
    files: list[tuple[str, Captures]] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    links: list[LeftOut] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def run(self) -> Found:
        """Walk from the root."""
        real = self.root.resolve()
        above = frozenset(_identity(folder) for folder in (real, *real.parents))
        self._descend(_Folder("", above, linked=False), self.pattern.split("/"), ())
        ordered = sorted(self.left_out.values(), key=lambda one: one.path)
        return Found(tuple(sorted(self.files)), tuple(ordered), tuple(self.links))

    def _descend(self, folder: _Folder, segments: Sequence[str], captures: Captures) -> None:
        first, rest = segments[0], segments[1:]
        if first == "**":
            for deeper in self._folders_below(folder):
                self._descend(deeper, rest, (*captures, deeper.path[len(folder.path) :].strip("/")))
        elif not rest:
            self._take_files(folder, first, captures)
        elif "*" in first:
            self._enter_folders(folder, segments, captures)
        elif (self.root / folder.child(first)).is_dir():
            # A folder that the pattern names is entered whatever it is.
            identity = _identity(self.root / folder.child(first))
            named = _Folder(folder.child(first), folder.above | {identity}, folder.linked)
            self._descend(named, rest, captures)

    def _enter_folders(self, folder: _Folder, segments: Sequence[str], captures: Captures) -> None:
        expression = folder_expression(segments[0])
        for entry in self._entries(folder):
            match = expression.fullmatch(entry.name)
            if match is None or not _is_folder(entry) or _is_hidden(entry, segments[0]):
                continue
            inner = self._entered(folder, entry)
            if inner is not None:
                self._descend(inner, segments[1:], captures + match.groups())

    def _take_files(self, folder: _Folder, segment: str, captures: Captures) -> None:
        expression = file_expression(segment)
        for entry in self._entries(folder):
            if _is_folder(entry):
                continue
            match = expression.fullmatch(entry.name)
            path = folder.child(entry.name)
            why = self._why_not(entry, match is not None, _is_hidden(entry, segment))
            if why:
                self.left_out[path] = LeftOut(path, why)
            elif match is not None and why is None:
                self.files.append((path, captures + match.groups()))

    def _why_not(self, entry: "os.DirEntry[str]", matches: bool, hidden: bool) -> str | None:
        """Why a file is left out; None for one that is taken, "" for one that nobody misses."""
        ending = PurePosixPath(entry.name).suffix.lower()
        if ending in UNREAD and not hidden and (self.pictures_only or not matches):
            return f"of a format that is not read ({ending})"
        wanted = matches and (ending in PICTURES or not self.pictures_only)
        if hidden or not wanted:
            return HIDDEN if wanted else OTHER if self.pictures_only and not hidden else ""
        if not _is_file(entry):
            return NO_FILE if os.path.exists(entry.path) else BROKEN  # noqa: PTH110 - a text, not a Path
        return None

    def _folders_below(self, folder: _Folder) -> Iterator[_Folder]:
        """A folder and all below it; what is reached by links comes last, so that `seen` holds the others."""
        folders, links = [folder], deque[tuple[_Folder, os.DirEntry[str]]]()
        while folders or links:
            if not folders:
                inner = self._entered(*links.popleft())
                folders += [inner] if inner is not None else []
                continue
            here = folders.pop()
            yield here
            for entry in self._entries(here):
                if not _is_folder(entry):
                    continue
                path = here.child(entry.name)
                if entry.name.startswith("."):
                    self.left_out[path] = LeftOut(path, f"{HIDDEN} (a folder)")
                elif entry.is_symlink():
                    links.append((here, entry))
                else:
                    inner = self._entered(here, entry)
                    folders += [inner] if inner is not None else []

    def _entered(self, folder: _Folder, entry: "os.DirEntry[str]") -> _Folder | None:
        """The folder of an entry, unless it leads back to one above or, from a linked folder, to a read one."""
        path, linked = folder.child(entry.name), entry.is_symlink()
        identity = _identity(self.root / path)
        circle = identity in folder.above
        if circle or (linked and folder.linked and identity in self.seen):
            self.left_out[path] = LeftOut(path, CIRCLE if circle else AGAIN)
            return None
        if linked:
            self.links.append(LeftOut(path, os.fspath((self.root / path).resolve())))
        self.seen.add(identity)
        return _Folder(path, folder.above | {identity}, folder.linked or linked)

    def _entries(self, folder: _Folder) -> "list[os.DirEntry[str]]":
        place = self.root / folder.path
        try:
            with os.scandir(place) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{place}: this folder cannot be read: {error.strerror}") from error


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be read: {error.strerror}") from error
    return status.st_dev, status.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads to itself


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_hidden(entry: "os.DirEntry[str]", segment: str) -> bool:
    """Whether a name that starts with a dot is met by a `*`."""
    return entry.name.startswith(".") and segment.startswith("*")
