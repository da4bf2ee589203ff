"""Which label belongs to which image: by their names, never by their order; doubt is a DataError that says what to give.

Names agree, or differ by constant text before and after: `7_photo.jpg` and `7_ids.png`, in the same subfolder
of both folders.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

from pipeline.artifacts.errors import DataError
from pipeline.datasets.headers import Storage, stored_as
from pipeline.onboarding.picture_folders import SHOWN, Pairs, Pictures, depth_pattern

MOST_KINDS = 12
"""A folder with more kinds of files per image is not taken apart."""


@dataclass(frozen=True)
class Matched:
    """Which label belongs to which image, and what has no partner; paths relative to `pairs.root`."""

    pairs: Pairs
    unpaired_images: tuple[str, ...]
    unpaired_labels: tuple[str, ...]


def pair_up(images: Pictures, labels: Pictures, option: str) -> Pairs:
    """Find which label belongs to which image by their names; DataError when any has no partner."""
    matched = match(images, labels, option)
    unpaired = [*matched.unpaired_images[:SHOWN], *matched.unpaired_labels[:SHOWN]]
    if not unpaired:
        return matched.pairs
    kinds = _describe_kinds(images, labels, option, every_image=True)
    used = {label for _, label in matched.pairs.files}
    both = sum(image in used for image in matched.unpaired_images)
    raise DataError(
        f"{len(matched.unpaired_images)} images have no label and {len(matched.unpaired_labels)} labels no image, "
        f"below {matched.pairs.root}:\n"
        + "\n".join(f"  {name}" for name in unpaired)
        + f"\n{both} of these images are the labels themselves: give the images as a pattern" * bool(both)
        + (
            kinds
            or "\nAdd what is missing, move the others away, or give a pattern that matches the pairs only"
        )
    )


def match(images: Pictures, labels: Pictures, option: str) -> Matched:
    """Match images and labels by their names; DataError when not one label belongs to an image."""
    matched = _matched(images, labels)
    if not matched.pairs.files:
        raise DataError(
            f"no label belongs to an image by its name. Images look like {images.files[0]} (below {images.root}), "
            f"labels like {labels.files[0]} (below {labels.root})."
            + (
                _describe_kinds(images, labels, option, every_image=False)
                or " Names must agree up to constant text before and after (7_photo.jpg, 7_ids.png), in the same "
                "subfolders; rename one side"
            )
        )
    same = [image for image, label in matched.pairs.files if image == label]
    if same:
        raise DataError(
            f"{option}: {len(same)} files are images and labels at once, such as {same[0]} (below "
            f"{matched.pairs.root}); give each side as a pattern, such as {_patterns_within(labels)}"
        )
    return matched


def _matched(images: Pictures, labels: Pictures) -> Matched:
    common = Path(os.path.commonpath([images.root, labels.root]))
    images, labels = images.below(common), labels.below(common)
    image_affixes, label_affixes = _best_affixes(images, labels)
    by_core = {_core(file, labels, label_affixes): file for file in labels.files}
    by_core.pop(None, None)
    partners = {file: by_core.get(_core(file, images, image_affixes)) for file in images.files}
    used = {label for label in partners.values() if label is not None}
    pairs = Pairs(
        common,
        tuple(_with_affixes(pattern, image_affixes) for pattern in images.patterns),
        tuple(_with_affixes(pattern, label_affixes) for pattern in labels.patterns),
        tuple((image, label) for image, label in partners.items() if label is not None),
    )
    return Matched(
        pairs,
        tuple(file for file, label in partners.items() if label is None),
        tuple(file for file in labels.files if file not in used),
    )


Affixes = tuple[str, str]
Core = tuple[str, str]


def _parts(file: str, pictures: Pictures) -> tuple[str, str]:
    """Folder below the pattern's fixed part, and name without ending."""
    fixed = pictures.patterns[0].partition("*")[0].rpartition("/")[0]
    inner = file[len(fixed) :].lstrip("/")
    folder, _, name = inner.rpartition("/")
    return folder, name.removesuffix(Path(name).suffix)


def _core(file: str, pictures: Pictures, affixes: Affixes) -> Core | None:
    """What tells a file from the others: folder and name without the affixes; None where they do not fit."""
    folder, name = _parts(file, pictures)
    before, after = affixes
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return (folder, name[len(before) : len(name) - len(after)]) if fits else None


def _best_affixes(images: Pictures, labels: Pictures) -> tuple[Affixes, Affixes]:
    """The constant texts that make most names agree; the shortest ones among equals."""
    ours, theirs = _affixes(images), _affixes(labels)
    cores = {
        side: {affixes: {_core(file, pictures, affixes) for file in pictures.files} for affixes in options}
        for side, pictures, options in (("images", images, ours), ("labels", labels, theirs))
    }

    def rank(pair: tuple[Affixes, Affixes]) -> tuple[int, int]:
        shared = cores["images"][pair[0]] & cores["labels"][pair[1]]
        return len(shared - {None}), -sum(len(text) for side in pair for text in side)

    return max(product(ours, theirs), key=rank)


def _affixes(pictures: Pictures) -> list[Affixes]:
    """Texts that all names begin and end with, cut where words end; digits are never part of them."""
    given = Path(pictures.patterns[0]).stem
    if given.count("*") == 1 and given != "*":
        before_star, _, after_star = given.partition("*")
        return [(before_star, after_star)]
    names = [_parts(file, pictures)[1] for file in pictures.files]
    start = _common_start(names)
    end = _common_start([name[::-1] for name in names])[::-1]
    before = ["", *(start[: match.end()] for match in re.finditer(r"[^\d]*[^\d\W]?[_\-. ]", start))]
    letters = re.match(r"\D+", start)
    before += [letters[0]] if letters and len(names) > 1 else []
    after = ["", *(end[match.start() :] for match in re.finditer(r"[_\-. ]", end))]
    tail = re.search(r"[A-Za-z]+$", end)
    after += [tail[0]] if tail and len(names) > 1 else []
    return [(a, b) for a in dict.fromkeys(before) for b in dict.fromkeys(after)]


def _common_start(names: Sequence[str]) -> str:
    return os.path.commonprefix(names)  # noqa: RUF071 - characters are meant, not folders


def _with_affixes(pattern: str, affixes: Affixes) -> str:
    if affixes == ("", ""):
        return pattern
    folder, slash, name = pattern.rpartition("/")
    before, after = affixes
    stem, dot, ending = name.rpartition(".")
    return f"{folder}{slash}{before}*{after}{dot}{ending}" if stem == "*" else pattern


# Several files per image, as in Cityscapes: *_labelIds.png, *_color.png and *_instanceIds.png side by side.


def _describe_kinds(images: Pictures, labels: Pictures, option: str, every_image: bool) -> str:
    """What to give instead of a folder that holds several files per image; "" where it is something else."""
    kinds = label_kinds(images, labels, every_image)
    lines = [
        f"\n  {option} '{kind.root}/{kind.patterns[0]}'  ({_describe_storage(kind.paths()[0])})"
        for kind in kinds
    ]
    return "\nThere are several files per image; give those of one kind:" + "".join(lines) if lines else ""


_STORAGES: Mapping[Storage, str] = {
    "palette": "ids with a palette",
    "grey": "8-bit ids",
    "shades": "black and white",
    "colors": "colors",
    "lossy": "compressed with loss",
}


def _describe_storage(label: Path) -> str:
    try:
        return _STORAGES[stored_as(label)]
    except DataError:
        return "no class labels: 16 bits number objects, or it cannot be read"


def label_kinds(images: Pictures, labels: Pictures, every_image: bool) -> list[Pictures]:
    """The labels by kind (a common end, start or subfolder), where each kind alone fits the images.

    `every_image`: whether a kind must have a label of every image. Empty when there are no such kinds.
    """
    for kind_of in (_by_tail, _by_last_word, _by_head, _by_folder):
        groups = _grouped(labels, kind_of)
        if not 2 <= len(groups) <= MOST_KINDS:
            continue
        fitting = [group for group in groups if _fits(images, group, every_image)]
        if fitting:
            return fitting
    return []


def _fits(images: Pictures, labels: Pictures, every_image: bool) -> bool:
    matched = _matched(images, labels)
    return not matched.unpaired_labels and not (every_image and matched.unpaired_images)


Kind = tuple[str, str]
"""Folder below the root and pattern of a file's name."""


def _grouped(labels: Pictures, kind_of: Callable[[str], Kind]) -> list[Pictures]:
    groups: dict[Kind, list[str]] = {}
    for file in labels.files:
        groups.setdefault(kind_of(file), []).append(file)
    found = []
    for (folder, name), files in sorted(groups.items()):
        root = labels.root / folder
        inner = tuple(file.removeprefix(f"{folder}/") if folder else file for file in files)
        found.append(Pictures(root, (depth_pattern(inner).removesuffix("*") + name,), inner))
    return found


def _split_name(file: str) -> tuple[str, str]:
    path = PurePosixPath(file)
    return path.name.removesuffix(path.suffix), path.suffix


def _by_tail(file: str) -> Kind:
    stem, ending = _split_name(file)
    tail = re.search(r"\D*$", stem)
    return "", f"*{tail[0] if tail else ''}{ending}"


def _by_last_word(file: str) -> Kind:
    stem, ending = _split_name(file)
    word = re.search(r"[_\-. ][^_\-. ]*$", stem)
    return "", f"*{word[0] if word else ''}{ending}"


def _by_head(file: str) -> Kind:
    stem, ending = _split_name(file)
    head = re.match(r"\D*", stem)
    return "", f"{head[0] if head else ''}*{ending}"


def _by_folder(file: str) -> Kind:
    folder, slash, _ = file.partition("/")
    return (folder, f"*{PurePosixPath(file).suffix}") if slash else ("", f"*{PurePosixPath(file).suffix}")


def _patterns_within(pictures: Pictures) -> str:
    kinds = _grouped(pictures, _by_tail)[:SHOWN]
    return " and ".join(f"'{kind.root}/{kind.patterns[0]}'" for kind in kinds)
