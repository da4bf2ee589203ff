"""Kinds of files below one folder, as Cityscapes' *_labelIds.png, *_color.png and *_instanceIds.png, or rgb/ and depth/."""

import re
from collections.abc import Callable, Iterator, Mapping

from pipeline.artifacts.errors import DataError
from pipeline.datasets.headers import Storage, stored_as
from pipeline.datasets.walking import find_files
from pipeline.onboarding.name_matching import match_names, name_and_ending
from pipeline.onboarding.picture_folders import Pictures, depth_pattern

MOST_KINDS = 12
"""A folder with more kinds of files per image is not taken apart."""

_STORAGES: Mapping[Storage, str] = {
    "palette": "ids with a palette",
    "grey": "8-bit ids",
    "shades": "black and white",
    "colors": "colors",
    "lossy": "compressed with loss",
}


def describe_kinds(images: Pictures, labels: Pictures, option: str, every_image: bool) -> str:
    """What to give instead of a folder that holds several files per image; "" where it is something else."""
    lines = [
        f"\n  {option} {quoted(kind)}  ({describe_storage(kind)})"
        for kind in _label_kinds(images, labels, every_image)
    ]
    return "\nThere are several files per image; give those of one kind:" + "".join(lines) if lines else ""


def describe_storage(labels: Pictures) -> str:
    """How the first of the labels is stored, in words."""
    try:
        return _STORAGES[stored_as(labels.paths()[0])]
    except DataError:
        return "no class labels: 16 bits number objects, or it cannot be read"


def quoted(kind: Pictures) -> str:
    """A kind's pattern as it is typed."""
    return f"'{kind.root}/{kind.patterns[0]}'"


def _label_kinds(images: Pictures, labels: Pictures, every_image: bool) -> list[Pictures]:
    """The labels by kind, where each kind alone fits the images and its pattern finds no other file.

    `every_image`: whether a kind must have a label of every image. Empty when there are no such kinds.
    """
    for kinds in groupings(labels):
        fitting = [kind for kind in kinds if _fits(images, kind, every_image) and is_told_apart(kind)]
        if fitting:
            return fitting
    return []


def _fits(images: Pictures, labels: Pictures, every_image: bool) -> bool:
    matched = match_names(images, labels)
    return not matched.unpaired_labels and not (every_image and matched.unpaired_images)


def is_told_apart(kind: Pictures) -> bool:
    """Whether the patterns find these files and no other."""
    return find_files(kind.root, kind.patterns).paths() == kind.files


def groupings(pictures: Pictures) -> Iterator[list[Pictures]]:
    """Every way to take the pictures apart into 2 to `MOST_KINDS` kinds, the coarse ways first.

    A kind is what the names have in common, one folder's value, or both.
    """
    depths = {file.count("/") for file in pictures.files}
    positions = range(depths.pop()) if len(depths) == 1 else (0, -1) if 0 not in depths else ()
    ways: list[tuple[int | None, Callable[[str], str]]] = [
        (None, name) for name in (_tail, _last_word, _head, _ending)
    ]
    ways += [(position, name) for name in (_ending, _tail, _last_word, _head) for position in positions]
    for position, name_of in ways:
        kinds = _grouped(pictures, position, name_of)
        if 2 <= len(kinds) <= MOST_KINDS:
            yield kinds


def _grouped(pictures: Pictures, position: int | None, name_of: Callable[[str], str]) -> list[Pictures]:
    groups: dict[tuple[str, str], list[str]] = {}
    for file in pictures.files:
        folder = "" if position is None else file.split("/")[:-1][position]
        groups.setdefault((folder, name_of(file)), []).append(file)
    return [
        Pictures(pictures.root, ("/".join([*_folders(files, position, folder), name]),), tuple(files))
        for (folder, name), files in sorted(groups.items())
    ]


def _folders(files: list[str], position: int | None, folder: str) -> list[str]:
    """The segments of a pattern of these files' folders, with the one at `position` written out."""
    segments = depth_pattern(files).split("/")[:-1]
    if position is None:
        return segments
    if segments != ["**"]:
        segments[position] = folder
        return segments
    if position == -1:
        return ["**", folder]
    return [folder, *depth_pattern([file.partition("/")[2] for file in files]).split("/")[:-1]]


def _split_name(file: str) -> tuple[str, str]:
    stem, ending = name_and_ending(file)
    return stem, ending.lower()


def _ending(file: str) -> str:
    return f"*{_split_name(file)[1]}"


def _tail(file: str) -> str:
    stem, ending = _split_name(file)
    tail = re.search(r"\D*$", stem)
    return f"*{tail[0] if tail else ''}{ending}"


def _last_word(file: str) -> str:
    stem, ending = _split_name(file)
    word = re.search(r"[_\-. ][^_\-. ]*$", stem)
    return f"*{word[0] if word else ''}{ending}"


def _head(file: str) -> str:
    stem, ending = _split_name(file)
    head = re.match(r"\D*", stem)
    return f"{head[0] if head else ''}*{ending}"
