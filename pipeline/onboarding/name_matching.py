"""Which label's name agrees with which image's, never by their order.

Names agree, or differ by constant text before and after (`7_photo.jpg` and `7_ids.png`); folders agree, or are
constant on each side (`town1/rgb` and `town1/semantic`). What varies must be the same, as for a dataset file.
"""

import os
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from pipeline.datasets.patterns import Captures, captured_name, folder_expression
from pipeline.onboarding.picture_folders import Pairs, Pictures

PARTS_OF_DATA = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "day", "night"}
)
"""Folders that tell one set of images from another: those of one are never labels of the other."""

Affixes = tuple[str, str]
Core = tuple[str, str]
"""Folders and name of a file, or what is left of them without constant text."""


@dataclass(frozen=True)
class Matched:
    """Which label belongs to which image, and what has no partner; paths relative to `pairs.root`."""

    pairs: Pairs
    unpaired_images: tuple[str, ...]
    unpaired_labels: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every image has a label of its own, and no label is left."""
        once = len({label for _, label in self.pairs.files}) == len(self.pairs.files)
        return once and not self.unpaired_images and not self.unpaired_labels


def match_names(images: Pictures, labels: Pictures) -> Matched:
    """Pair all that agree, with as few folders written out in the patterns as possible."""
    common = Path(os.path.commonpath([images.root, labels.root]))
    images, labels = images.below(common), labels.below(common)
    found = _matched(images, labels)
    if found.is_complete:
        return found
    narrowed = _with_differing_folders(images, labels)
    again = _matched(*narrowed) if narrowed is not None else found
    return again if len(again.pairs.files) > len(found.pairs.files) else found


def _matched(images: Pictures, labels: Pictures) -> Matched:
    ours, theirs = _parts(images), _parts(labels)
    image_affixes, label_affixes = _best_affixes((images, ours), (labels, theirs))
    by_core = {_core(part, label_affixes): file for file, part in theirs.items()}
    by_core.pop(None, None)
    partners = {file: by_core.get(_core(part, image_affixes)) for file, part in ours.items()}
    used = {label for label in partners.values() if label is not None}
    pairs = Pairs(
        images.root,
        tuple(_with_affixes(pattern, image_affixes) for pattern in images.patterns),
        tuple(_with_affixes(pattern, label_affixes) for pattern in labels.patterns),
        tuple((image, label) for image, label in partners.items() if label is not None),
    )
    return Matched(
        pairs,
        tuple(file for file, label in partners.items() if label is None),
        tuple(file for file in labels.files if file not in used),
    )


# Folders: what a pattern's wildcards capture of them, and constant ones written out.


def _folder_segments(pictures: Pictures) -> list[str]:
    return pictures.patterns[0].split("/")[:-1]


def _captured_folders(file: str, segments: Sequence[str]) -> Captures:
    """What each wildcard of the pattern's folders stands for in a file that the pattern matches."""
    folders = file.split("/")[:-1]
    captured: list[str] = []
    for position, segment in enumerate(segments):
        if segment == "**":
            taken = len(folders) - (len(segments) - position - 1)
            captured.append("/".join(folders[:taken]))
            folders = folders[taken:]
            continue
        match = folder_expression(segment).fullmatch(folders.pop(0))
        assert match is not None, f"{file} is not matched by {segments}"
        captured += match.groups()
    return tuple(captured)


def with_constant_folders(pictures: Pictures) -> Pictures:
    """The same pictures, with every folder in the patterns that is one for all of them written out."""
    segments = _folder_segments(pictures)
    rows = [_captured_folders(file, segments) for file in pictures.files]
    columns = [list(column) for column in zip(*rows, strict=True)]
    written: list[str] = []
    for segment in segments:
        stars = 1 if segment == "**" else segment.count("*")
        values, columns = columns[:stars], columns[stars:]
        if segment == "**":
            written += _around_the_middle([value.split("/") if value else [] for value in values[0]])
        elif segment == "*" and len(set(values[0])) == 1:
            written.append(values[0][0])
        else:
            written.append(segment)
    return _in_folders(pictures, written)


def _around_the_middle(paths: Sequence[Sequence[str]]) -> list[str]:
    """`**` with the folders before and after it that all paths share."""
    shortest = min(len(path) for path in paths)
    lead = 0
    while lead < shortest and len({path[lead] for path in paths}) == 1:
        lead += 1
    end = 0
    while end < shortest - lead and len({path[-1 - end] for path in paths}) == 1:
        end += 1
    first = paths[0]
    return [*first[:lead], "**", *first[len(first) - end :]]


def _in_folders(pictures: Pictures, segments: Sequence[str]) -> Pictures:
    names = [pattern.rpartition("/")[2] for pattern in pictures.patterns]
    return replace(pictures, patterns=tuple("/".join([*segments, name]) for name in names))


def _with_differing_folders(images: Pictures, labels: Pictures) -> tuple[Pictures, Pictures] | None:
    """Both sides with the constant folders written out in which they differ; None where that would be a guess."""
    given = _folder_segments(images), _folder_segments(labels)
    written = with_constant_folders(images), with_constant_folders(labels)
    ours, theirs = (_folder_segments(side) for side in written)
    new = [{*side} - {*before} for side, before in zip((ours, theirs), given, strict=True)]
    if _are_parts(new[0] - {*theirs}, new[1] - {*ours}):
        return None
    if len(ours) != len(given[0]) or len(theirs) != len(given[1]) or len(ours) != len(theirs):
        return written
    same = [one == other for one, other in zip(ours, theirs, strict=True)]
    kept = [
        [before if equal else after for before, after, equal in zip(side, now, same, strict=True)]
        for side, now in zip(given, (ours, theirs), strict=True)
    ]
    return _in_folders(images, kept[0]), _in_folders(labels, kept[1])


def are_parts_of_data(images: Pictures, labels: Pictures) -> bool:
    """Whether the two are other parts of the data by their folders, as town1 and town2, not images and labels."""
    ours, theirs = ({*_folder_segments(with_constant_folders(side))} for side in (images, labels))
    return _are_parts(ours - theirs, theirs - ours)


def _are_parts(ours: Set[str], theirs: Set[str]) -> bool:
    return any(_are_alike(one, other) for one, other in product(ours, theirs))


def _are_alike(one: str, other: str) -> bool:
    parts = {one.lower(), other.lower()} & PARTS_OF_DATA
    return bool(parts) or re.sub(r"\d+|[A-Z]$", "", one) == re.sub(r"\d+|[A-Z]$", "", other)


# Names: the constant text before and after what varies.


def _parts(pictures: Pictures) -> dict[str, Core]:
    """What is captured of every file's folders, and its name without ending."""
    segments = _folder_segments(pictures)
    return {
        file: (captured_name(_captured_folders(file, segments)), name_and_ending(file)[0])
        for file in pictures.files
    }


def name_and_ending(file: str) -> tuple[str, str]:
    """A file's name without its ending, and the ending with its dot; as `pathlib` has them, but many times faster."""
    name = file.rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    return (stem, f".{ending}") if stem and ending else (name, "")


def _core(part: Core, affixes: Affixes) -> Core | None:
    """What tells a file from the others: its folders and its name without the affixes; None where they do not fit."""
    folders, name = part
    before, after = affixes
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return (folders, name[len(before) : len(name) - len(after)]) if fits else None


Side = tuple[Pictures, dict[str, Core]]


def _best_affixes(images: Side, labels: Side) -> tuple[Affixes, Affixes]:
    """The constant texts that make most names agree; the shortest ones among equals."""
    ours, theirs = _affixes(*images), _affixes(*labels)
    cores = {
        side: {affixes: {_core(part, affixes) for part in parts.values()} for affixes in options}
        for side, (_, parts), options in (("images", images, ours), ("labels", labels, theirs))
    }

    def rank(pair: tuple[Affixes, Affixes]) -> tuple[int, int]:
        shared = cores["images"][pair[0]] & cores["labels"][pair[1]]
        return len(shared - {None}), -sum(len(text) for side in pair for text in side)

    return max(product(ours, theirs), key=rank)


def _affixes(pictures: Pictures, parts: dict[str, Core]) -> list[Affixes]:
    """Texts that all names begin and end with, cut where words end; digits are never part of them."""
    before_star, _, after_star = _given(pictures).partition("*")
    names = [name for _, name in parts.values()]
    start = _common_start(names)
    end = _common_start([name[::-1] for name in names])[::-1]
    before = ["", *(start[: match.end()] for match in re.finditer(r"[^\d]*[^\d\W]?[_\-. ]", start))]
    letters = re.match(r"\D+", start)
    before += [letters[0]] if letters and len(names) > 1 else []
    after = ["", *(end[match.start() :] for match in re.finditer(r"[_\-. ]", end))]
    tail = re.search(r"[A-Za-z]+$", end)
    after += [tail[0]] if tail and len(names) > 1 else []
    options = [(before_star, after_star), *product(before, after)]
    fitting = [(a, b) for a, b in options if a.startswith(before_star) and b.endswith(after_star)]
    return list(dict.fromkeys(fitting))


def _given(pictures: Pictures) -> str:
    """The name in the pattern, without ending, where it has one `*`."""
    name, _ = name_and_ending(pictures.patterns[0])
    return name if name.count("*") == 1 else "*"


def _common_start(names: Sequence[str]) -> str:
    return os.path.commonprefix(names)  # noqa: RUF071 - characters are meant, not folders


def _with_affixes(pattern: str, affixes: Affixes) -> str:
    folder, slash, name = pattern.rpartition("/")
    before, after = affixes
    stem, dot, ending = name.rpartition(".")
    return f"{folder}{slash}{before}*{after}{dot}{ending}" if stem.count("*") == 1 else pattern
