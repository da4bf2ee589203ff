"""A user's folders of pictures: which files there are, and which label belongs to which image by its name.

Nothing is guessed silently: what cannot be told for sure is a DataError that says what to give instead.
The folders are only read.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.datasets.patterns import matching_files, pattern_problem

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
SHOWN = 5


@dataclass(frozen=True)
class Pictures:
    """Pictures below a folder: `pattern` matches `files`, relative to `root`, sorted; at least one."""

    root: Path
    pattern: str
    files: tuple[str, ...]

    def below(self, folder: Path) -> "Pictures":
        """The same pictures relative to a folder further up."""
        lead = self.root.relative_to(folder).as_posix()
        if lead == ".":
            return self
        files = tuple(f"{lead}/{file}" for file in self.files)
        return Pictures(folder, f"{lead}/{self.pattern}", files)

    def paths(self) -> list[Path]:
        """The files with their root."""
        return [self.root / file for file in self.files]


@dataclass(frozen=True)
class Pairs:
    """Images and the label of each, in one order, both relative to `root`, with the two patterns."""

    root: Path
    images: str
    labels: str
    files: tuple[tuple[str, str], ...]


def find_pictures(place: str, option: str) -> Pictures:
    """The pictures that a folder, or a pattern with `*`, names; DataError says what is there instead.

    A folder must hold pictures of one ending; subfolders are searched.
    """
    _check_place(place, option)
    if "*" in place:
        return _by_pattern(place, option)
    root = Path(os.path.abspath(Path(place).expanduser()))  # noqa: PTH100 - links stay as the user wrote them
    if not root.is_dir():
        raise DataError(f"{option}: there is no folder {root}{_nearest_folder(root)}")
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in PICTURES and path.is_file() and not _hidden(path.relative_to(root))
    )
    if not found:
        raise DataError(f"{option}: {root} holds no picture ({', '.join(PICTURES)}). {_content(root)}")
    endings = Counter(Path(file).suffix for file in found)
    if len(endings) > 1:
        told = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
        example = f"{root}/{_depth_pattern(found)}{endings.most_common(1)[0][0]}"
        raise DataError(
            f"{option}: {root} holds pictures of several endings ({told}); give a pattern, such as '{example}'"
        )
    return Pictures(root, f"{_depth_pattern(found)}{next(iter(endings))}", tuple(found))


def _check_place(place: str, option: str) -> None:
    if "$" in place:
        raise ConfigError(
            f"{option}: {place}: a path with $ cannot stand in a dataset file; rename the folder"
        )


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _depth_pattern(files: Sequence[str]) -> str:
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
    found = tuple(sorted(path for path, _ in matching_files(fixed, pattern)))
    if not found:
        raise DataError(f"{option}: nothing matches {place}. {_content(fixed)}")
    return Pictures(fixed, pattern, found)


def _content(folder: Path) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return f"{folder} holds {', '.join(names[:SHOWN]) or 'nothing'}{', ...' if len(names) > SHOWN else ''}"


def _nearest_folder(folder: Path) -> str:
    parent = next((above for above in folder.parents if above.is_dir()), None)
    return "" if parent is None else f". {_content(parent)}"


@dataclass(frozen=True)
class Matched:
    """Which label belongs to which image, and what has no partner; paths relative to `pairs.root`."""

    pairs: Pairs
    lonely_images: tuple[str, ...]
    lonely_labels: tuple[str, ...]


def pair_up(images: Pictures, labels: Pictures) -> Pairs:
    """Find which label belongs to which image by their names; DataError when any has no partner."""
    matched = match(images, labels)
    lonely = [*matched.lonely_images[:SHOWN], *matched.lonely_labels[:SHOWN]]
    if lonely:
        raise DataError(
            f"{len(matched.lonely_images)} images have no label and {len(matched.lonely_labels)} labels no image, "
            f"below {matched.pairs.root}:\n"
            + "\n".join(f"  {name}" for name in lonely)
            + "\nAdd what is missing, move the others away, or give a pattern that matches the pairs only"
        )
    return matched.pairs


def match(images: Pictures, labels: Pictures) -> Matched:
    """Match images and labels by their names; DataError when not one label belongs to an image.

    Names agree, or differ by constant text before and after: `7_photo.jpg` and `7_ids.png`, in the same
    subfolder of both folders.
    """
    common = Path(os.path.commonpath([images.root, labels.root]))
    images, labels = images.below(common), labels.below(common)
    image_affixes, label_affixes = _best_affixes(images, labels)
    by_core = {_core(file, labels, label_affixes): file for file in labels.files}
    partners = {file: by_core.get(_core(file, images, image_affixes)) for file in images.files}
    used = {label for label in partners.values() if label is not None}
    if not used:
        raise DataError(
            f"no label belongs to an image by its name. Images look like {images.files[0]}, labels like "
            f"{labels.files[0]} (below {common}). Names must agree up to constant text before and after "
            "(7_photo.jpg, 7_ids.png), in the same subfolders; rename one side"
        )
    pairs = Pairs(
        common,
        _with_affixes(images.pattern, image_affixes),
        _with_affixes(labels.pattern, label_affixes),
        tuple((image, label) for image, label in partners.items() if label is not None),
    )
    return Matched(
        pairs,
        tuple(file for file, label in partners.items() if label is None),
        tuple(file for file in labels.files if file not in used),
    )


Affixes = tuple[str, str]


def _parts(file: str, pictures: Pictures) -> tuple[str, str]:
    """Folder below the pattern's fixed part, and name without ending."""
    fixed = pictures.pattern.partition("*")[0].rpartition("/")[0]
    inner = file[len(fixed) :].lstrip("/")
    folder, _, name = inner.rpartition("/")
    return folder, name.removesuffix(Path(name).suffix)


def _core(file: str, pictures: Pictures, affixes: Affixes) -> tuple[str, str]:
    folder, name = _parts(file, pictures)
    before, after = affixes
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return (folder, name[len(before) : len(name) - len(after)]) if fits else (folder, "")


def _best_affixes(images: Pictures, labels: Pictures) -> tuple[Affixes, Affixes]:
    """The constant texts that make most names agree; the shortest ones among equals."""
    ours, theirs = _affixes(images), _affixes(labels)
    cores = {
        side: {affixes: {_core(file, pictures, affixes) for file in pictures.files} for affixes in options}
        for side, pictures, options in (("images", images, ours), ("labels", labels, theirs))
    }

    def rank(pair: tuple[Affixes, Affixes]) -> tuple[int, int]:
        shared = cores["images"][pair[0]] & cores["labels"][pair[1]]
        return len({core for core in shared if core[1]}), -sum(len(text) for side in pair for text in side)

    return max(product(ours, theirs), key=rank)


def _affixes(pictures: Pictures) -> list[Affixes]:
    """Texts that all names begin and end with, cut where words end; digits are never part of them."""
    given = Path(pictures.pattern).stem
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
