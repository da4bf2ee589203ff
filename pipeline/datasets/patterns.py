"""File patterns of dataset files: `images/*/*_leftImg8bit.png`, where each `*` is captured.

`*` stands for any text inside one folder or file name, `**` for any number of folders. Everything else,
brackets included, stands for itself. A `*` at the start of a name does not match hidden names (`.DS_Store`).
The captures of an image, put into the pattern of the labels in order, name its label.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

Captures = tuple[str, ...]

_WILDCARD = re.compile(r"\*\*|\*")


def wildcards(pattern: str) -> tuple[str, ...]:
    """The `*` and `**` of a pattern in order."""
    return tuple(_WILDCARD.findall(pattern))


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern, or None: it must stay inside the root and use `**` as a whole folder."""
    segments = pattern.split("/")
    if pattern.startswith(("/", "~")) or "\\" in pattern or ".." in segments or "" in segments:
        return f"`{pattern}` must be a path below `root`, with / between names and without .."
    if any("**" in segment and segment != "**" for segment in segments) or segments[-1] == "**":
        return f"`{pattern}`: ** stands for whole folders only, as in images/**/*.png"
    if segments.count("**") > 1:
        return f"`{pattern}`: only one ** is possible; it stands for any number of folders"
    return None


def captured_name(captures: Captures) -> str:
    """The name of an item: its captures joined by `/`; a `**` that matched no folder leaves no trace."""
    return "/".join(part for part in captures if part)


def filled(pattern: str, captures: Captures) -> str:
    """The relative path that `pattern` becomes when its wildcards are replaced by `captures` in order."""
    parts = iter(captures)
    path = _WILDCARD.sub(lambda _: next(parts), pattern)
    return "/".join(segment for segment in path.split("/") if segment)


def matching_files(root: Path, pattern: str) -> Iterator[tuple[str, Captures]]:
    """Relative paths below `root` that match, `/` between names, with their captures; in no given order."""
    yield from _descend(root, "", pattern.split("/"), ())


def _descend(
    root: Path, folder: str, segments: list[str], captures: Captures
) -> Iterator[tuple[str, Captures]]:
    first, rest = segments[0], segments[1:]
    if first == "**":
        for deeper in _folders_below(root, folder):
            found = deeper[len(folder) :].strip("/")
            yield from _descend(root, deeper, rest, (*captures, found))
    elif "*" not in first:
        path = _joined(folder, first)
        if rest and (root / path).is_dir():
            yield from _descend(root, path, rest, captures)
        elif not rest and (root / path).is_file():
            yield path, captures
    else:
        yield from _match_names(root, folder, segments, captures)


def _match_names(
    root: Path, folder: str, segments: list[str], captures: Captures
) -> Iterator[tuple[str, Captures]]:
    first, rest = segments[0], segments[1:]
    expression = re.compile("(.*)".join(re.escape(text) for text in first.split("*")), re.DOTALL)
    with os.scandir(root / folder) as entries:
        for entry in entries:
            match = expression.fullmatch(entry.name)
            if match is None or (entry.name.startswith(".") and first.startswith("*")):
                continue
            path = _joined(folder, entry.name)
            if rest and entry.is_dir():
                yield from _descend(root, path, rest, captures + match.groups())
            elif not rest and not entry.is_dir():
                yield path, captures + match.groups()


def _folders_below(root: Path, folder: str) -> Iterator[str]:
    yield folder
    with os.scandir(root / folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    for name in names:
        yield from _folders_below(root, _joined(folder, name))


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
