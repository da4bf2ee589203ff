"""Images and labels in one folder: which two kinds of its files are they, by names, folders and what is in them.

One answer is taken, several are a DataError that lists them: nothing is guessed.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path

import numpy as np

from pipeline.artifacts.errors import DataError
from pipeline.datasets.decoding import read_image
from pipeline.datasets.headers import stored_as
from pipeline.datasets.nearest import color_codes
from pipeline.datasets.taxonomy import IGNORE
from pipeline.onboarding.file_kinds import describe_storage, groupings, is_told_apart, quoted
from pipeline.onboarding.name_matching import Matched, are_parts_of_data, match_names, with_constant_folders
from pipeline.onboarding.picture_folders import SHOWN, Pictures

LOOKED_AT = 8
"""Files of a kind that are decoded, evenly spaced: enough to tell photos from labels."""


@dataclass(frozen=True)
class _Layout:
    """Two kinds of files that belong together, with patterns below one root."""

    images: Pictures
    labels: Pictures
    matched: Matched

    @property
    def paired(self) -> frozenset[str]:
        """The images that have a label."""
        return frozenset(image for image, _ in self.matched.pairs.files)


def tell_apart(images: Pictures, labels: Pictures, option: str) -> tuple[Pictures, Pictures]:
    """The images and the labels among what was given for each side; unchanged where no file is on both.

    `option`: the one of the labels. Unchanged too where no two kinds of files belong together: `pair_up` tells why.
    DataError: several answers, or one that no pattern can say.
    """
    if not {*images.paths()} & {*labels.paths()}:
        return images, labels
    common = Path(os.path.commonpath([images.root, labels.root]))
    found = _best(_layouts(images.below(common), labels.below(common)))
    if not found:
        return images, labels
    if len(found) > 1:
        raise DataError(_several(found, option))
    chosen = found[0]
    if not chosen.matched.is_complete:
        return chosen.images, chosen.labels
    sides = _with_patterns(chosen)
    if sides is None:
        raise DataError(
            f"{option}: labels such as {chosen.labels.files[0]} belong to images such as {chosen.images.files[0]} "
            f"(below {chosen.images.root}), but no pattern matches the images alone; move the labels to a "
            "folder of their own"
        )
    return _noted(*sides, images)


def _layouts(images: Pictures, labels: Pictures) -> list[_Layout]:
    """All pairs of kinds of which most files belong together by their names, but for parts of wider ones."""
    found: list[_Layout] = []
    seen = set()
    for ours, theirs in _candidates(images, labels):
        key = ours.files, theirs.files
        fewer, more = sorted((len(ours.files), len(theirs.files)))
        if key in seen or 2 * fewer <= more or any(one.paired > {*ours.files} for one in found):
            continue
        seen.add(key)
        if are_parts_of_data(ours, theirs):
            continue
        matched = match_names(ours, theirs)
        if 2 * len(matched.pairs.files) > more:
            found.append(_Layout(ours, theirs, matched))
    return found


def _candidates(images: Pictures, labels: Pictures) -> Iterator[tuple[Pictures, Pictures]]:
    """Kinds that may be images and labels of one another, from the coarse to the fine, below one root."""
    if images.files != labels.files:
        both = product(_kinds(images), _kinds(labels))
        yield from (pair for pair in both if not {*pair[0].files} & {*pair[1].files})
        return
    for kinds in groupings(images):
        yield from (pair for pair in permutations(kinds, 2) if _are_labels(pair[1]))


def _kinds(pictures: Pictures) -> list[Pictures]:
    return [pictures, *(kind for kinds in groupings(pictures) for kind in kinds)]


def _best(layouts: list[_Layout]) -> list[_Layout]:
    """The layouts of most images: none whose images are among those of another, and each pairing once."""
    photos = [one for one in layouts if not _are_labels(one.images)] or layouts
    widest = [one for one in photos if not any(one.paired < other.paired for other in photos)]
    whole = [one for one in widest if one.matched.is_complete]
    if not whole:
        return sorted(widest, key=lambda one: -len(one.paired))[:1]
    return list({one.matched.pairs.files: one for one in reversed(whole)}.values())[::-1]


def _are_labels(pictures: Pictures) -> bool:
    """Whether some of the files, evenly spaced, all look like labels."""
    some = pictures.files[:: max(1, -(-len(pictures.files) // LOOKED_AT))]
    return all(_looks_like_a_label(pictures.root / file) for file in some)


@lru_cache(maxsize=4096)
def _looks_like_a_label(path: Path) -> bool:
    """Whether a file has 8 bits, is stored without loss and has no more values or colors than there can be classes."""
    try:
        return stored_as(path) != "lossy" and len(np.unique(color_codes(read_image(path)))) <= IGNORE
    except DataError:
        return False


def _with_patterns(layout: _Layout) -> tuple[Pictures, Pictures] | None:
    """Both sides with patterns that find these files and no other; None where there are none."""
    for images, labels in (
        (layout.images, layout.labels),
        (with_constant_folders(layout.images), with_constant_folders(layout.labels)),
    ):
        pairs = match_names(images, labels).pairs
        sides = (
            Pictures(pairs.root, pairs.images, tuple(sorted(image for image, _ in pairs.files))),
            Pictures(pairs.root, pairs.labels, tuple(sorted(label for _, label in pairs.files))),
        )
        if all(map(is_told_apart, sides)):
            return sides
    return None


def _noted(images: Pictures, labels: Pictures, given: Pictures) -> tuple[Pictures, Pictures]:
    """Say among the omissions what was found, and what else lies there."""
    taken = {*images.paths(), *labels.paths()}
    rest = [str(path) for path in given.paths() if path not in taken]
    lines = [f"images are {quoted(images)}, labels {quoted(labels)}", *given.omissions]
    if rest:
        lines.append(f"left out: {len(rest)}, neither of them: {', '.join(rest[:SHOWN])}")
    return replace(images, omissions=tuple(lines)), labels


def _several(layouts: list[_Layout], option: str) -> str:
    lines = []
    for layout in layouts:
        sides = _with_patterns(layout)
        if sides is not None:
            images, labels = map(quoted, sides)
            lines.append(
                f"  {option.replace('labels', 'images')} {images} {option} {labels}  ({describe_storage(sides[1])})"
            )
    return (
        f"{option}: {len(layouts)} pairings of images and labels are possible below {layouts[0].images.root}; give "
        "the one that is right:\n" + "\n".join(lines)
    )
