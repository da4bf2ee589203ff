"""A user's folders of pictures: which files there are, and by which patterns they are known.

Nothing is guessed silently: what cannot be told for sure is a DataError that says what to give instead.
The folders are only read.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.datasets.name_lists import is_plain_text
from pipeline.datasets.patterns import pattern_problem
from pipeline.datasets.walking import PICTURES, describe_omissions, find_all_pictures, find_files

SHOWN = 5


@dataclass(frozen=True)
class Pictures:
    """Pictures below a folder: one of `patterns` matches each of `files`, relative to `root`, sorted; at least one.

    `omissions`: one line per kind of file that was left out.
    """

    root: Path
    patterns: tuple[str, ...]
    files: tuple[str, ...]
    omissions: tuple[str, ...] = ()

    def below(self, folder: Path) -> "Pictures":
        """The same pictures relative to a folder further up."""
        lead = self.root.relative_to(folder).as_posix()
        if lead == ".":
            return self
        files = tuple(f"{lead}/{file}" for file in self.files)
        return Pictures(folder, tuple(f"{lead}/{one}" for one in self.patterns), files, self.omissions)

    def paths(self) -> list[Path]:
        """The files with their root."""
        return [self.root / file for file in self.files]


@dataclass(frozen=True)
class Pairs:
    """Images and the label of each, in one order, both relative to `root`, with their patterns."""

    root: Path
    images: tuple[str, ...]
    labels: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


def find_pictures(place: str, option: str) -> Pictures:
    """The pictures that a folder, subfolders included, or a pattern with `*` names.

    DataError says what is there instead, or which names cannot be told apart or stand in no list.
    """
    _check_place(place, option)
    pictures = _by_pattern(place, option) if "*" in place else _below_folder(place, option)
    _check_names(pictures, option)
    return pictures


def _below_folder(place: str, option: str) -> Pictures:
    root = Path(os.path.abspath(Path(place).expanduser()))  # noqa: PTH100 - links stay as the user wrote them
    if root.is_file():
        raise DataError(
            f"{option}: {root} is a file; name its folder, or a pattern such as '{root.parent}/*{root.suffix}'"
        )
    if not root.is_dir():
        raise DataError(f"{option}: there is no folder {root}{_nearest_folder(root)}")
    found = find_all_pictures(root)
    omissions = tuple(describe_omissions(found.left_out, found.links))
    files = found.paths()
    if not files:
        described = "".join(f"\n{line}" for line in omissions)
        raise DataError(
            f"{option}: {root} holds no picture ({', '.join(PICTURES)}). {_content(root)}{described}"
        )
    # Endings that differ in case only share a pattern, written as most files have it.
    endings = [ending for ending, _ in Counter(PurePosixPath(file).suffix for file in files).most_common()]
    different = {ending.lower(): ending for ending in reversed(endings)}
    patterns = tuple(depth_pattern(files) + different[ending] for ending in sorted(different))
    return Pictures(root, patterns, files, omissions)


def _check_place(place: str, option: str) -> None:
    whole = os.path.abspath(Path(place).expanduser())  # noqa: PTH100 - links stay as the user wrote them
    wrong = [sign for sign in "$\\" if sign in whole]
    if wrong:
        raise ConfigError(
            f"{option}: {place}: a path with {wrong[0]} cannot stand in a dataset file; rename the folder"
        )
    if not is_plain_text(whole):
        raise ConfigError(
            f"{option}: {place!a}: a path with a line break, or that is no text, cannot stand in a dataset file; "
            "rename the folder"
        )


def _check_names(pictures: Pictures, option: str) -> None:
    strange = [ascii(file) for file in pictures.files if not is_plain_text(file)]
    if strange:
        raise DataError(
            f"{option}: {len(strange)} names below {pictures.root} hold a line break or are no text; rename "
            f"{', '.join(strange[:SHOWN])}"
        )
    alike: dict[str, list[str]] = {}
    for file in pictures.files:
        alike.setdefault(file.removesuffix(PurePosixPath(file).suffix), []).append(file)
    twice = [files for files in alike.values() if len(files) > 1]
    if twice:
        endings = sorted({PurePosixPath(file).suffix.lower() for files in twice for file in files})
        patterns = [f"'{pictures.root}/{depth_pattern(pictures.files)}{ending}'" for ending in endings]
        advice = f"give one kind as a pattern, {' or '.join(patterns)}" if len(endings) > 1 else "rename one"
        raise DataError(
            f"{option}: {len(twice)} names stand for several pictures, such as {' and '.join(twice[0])} below "
            f"{pictures.root}: a picture is known by its name without the ending; {advice}"
        )


def depth_pattern(files: Sequence[str]) -> str:
    """`*`, `*/*`, ... where all files lie equally deep, else `**/*`."""
    depths = {file.count("/") for file in files}
    return "/".join("*" * (depths.pop() + 1)) if len(depths) == 1 else "**/*"


def _by_pattern(place: str, option: str) -> Pictures:
    whole = os.path.abspath(Path(place).expanduser())  # noqa: PTH100 - links stay as the user wrote them
    fixed = Path(whole.partition("*")[0].rpartition("/")[0] or "/")
    pattern = Path(whole).relative_to(fixed).as_posix()
    if not fixed.is_dir():
        raise DataError(f"{option}: there is no folder {fixed}{_nearest_folder(fixed)}")
    problem = pattern_problem(pattern)
    if problem:
        raise DataError(f"{option}: {problem}")
    found = find_files(fixed, [pattern])
    omissions = tuple(describe_omissions(found.left_out, found.links))
    if not found.files:
        described = "".join(f"\n{line}" for line in omissions)
        raise DataError(f"{option}: nothing matches {place}. {_content(fixed)}{described}")
    return Pictures(fixed, (pattern,), found.paths(), omissions)


def _content(folder: Path) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return f"{folder} holds {', '.join(names[:SHOWN]) or 'nothing'}{', ...' if len(names) > SHOWN else ''}"


def _nearest_folder(folder: Path) -> str:
    parent = next((above for above in folder.parents if above.is_dir()), None)
    return "" if parent is None else f". {_content(parent)}"
