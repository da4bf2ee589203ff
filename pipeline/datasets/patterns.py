"""File patterns of dataset files: `images/*/*_leftImg8bit.png`, where each `*` is captured.

`*` stands for any text inside one folder or file name, `**` for any number of folders. Everything else,
brackets included, stands for itself, but an ending (`.jpg`) also matches in other case (`.JPG`). A `*` at the
start of a name does not match hidden names (`.DS_Store`). The captures of an image, put into the pattern of
the labels in order, name its label.
"""

import functools
import re
from pathlib import PurePosixPath

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


def without_case_of_ending(path: str) -> str:
    """The path with its ending in lower case: two paths that agree so fit the same pattern."""
    ending = PurePosixPath(path).suffix
    return path.removesuffix(ending) + ending.lower()


@functools.lru_cache(maxsize=1024)
def folder_expression(segment: str) -> re.Pattern[str]:
    """What a folder's segment of a pattern matches; each `*` is a group."""
    return re.compile(_groups(segment), re.DOTALL)


@functools.lru_cache(maxsize=1024)
def file_expression(segment: str) -> re.Pattern[str]:
    """What the last segment of a pattern matches, its ending in any case; each `*` is a group."""
    stem, dot, ending = segment.rpartition(".")
    if not stem or "*" in ending:
        return folder_expression(segment)
    return re.compile(f"{_groups(stem)}(?i:{re.escape(dot + ending)})", re.DOTALL)


def _groups(text: str) -> str:
    return "(.*)".join(re.escape(part) for part in text.split("*"))
