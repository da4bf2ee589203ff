"""Listing of datasets that are folders of pictures: patterns, list files, partners, masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pipeline.artifacts.errors import DataError
from pipeline.datasets.items import BadFile, Item, Listing
from pipeline.datasets.name_lists import is_plain_text, listed_names
from pipeline.datasets.patterns import Captures, captured_name, filled, without_case_of_ending
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.walking import Found, describe_omissions, find_files

Named = TypeVar("Named")


@dataclass(frozen=True)
class _Found:
    """An image below the root and what the wildcards captured."""

    path: str
    captures: Captures


def list_folder(
    spec: DatasetSpec, split: str, with_labels: bool, names: Sequence[str] | None = None
) -> Listing:
    """List a split of `format: files`; see `pipeline.datasets.listing.list_split`."""
    root, files = spec.resolved_root(), spec.split(split)
    images = _matches(spec, root, f"{split}.images", files.image_patterns)
    everything, problems = _by_name(root, [_Found(path, captures) for path, captures in images.files])
    named = everything
    if files.list_file:
        named, missing = read_list(spec, split, everything)
        problems += missing
    named = {name: found for name, found in named.items() if name not in spec.skip}
    if names is not None:
        named = _only(spec, split, named, names)
    if not (with_labels and files.label_patterns):
        return _listing(spec, split, named, None, problems, images)
    if names is None:
        labels = _matches(spec, root, f"{split}.labels", files.label_patterns)
        present = labels.paths()
        images = images.beside(labels)
    else:
        present = tuple(sorted(_present(root, files.label_patterns, named.values())))
    partners = _Partners(files.label_patterns, present)
    problems += partners.problems(root, named.values())
    if names is None:
        problems += partners.unpaired(root, everything.values())
    whole = {name: found for name, found in named.items() if partners.of(found)}
    return _listing(spec, split, whole, partners, problems, images)


class _Partners:
    """The label of each image: the image's captures put into a pattern, the ending in any case."""

    def __init__(self, patterns: Sequence[str], present: Iterable[str]) -> None:
        self.patterns = patterns
        self.present: dict[str, list[str]] = {}
        for path in present:
            self.present.setdefault(without_case_of_ending(path), []).append(path)

    def of(self, found: _Found) -> list[str]:
        """The files that are the image's label: one, unless something is wrong."""
        return [path for wanted in self._wanted(found) for path in self.present.get(wanted, [])]

    def _wanted(self, found: _Found) -> list[str]:
        paths = (without_case_of_ending(filled(pattern, found.captures)) for pattern in self.patterns)
        return list(dict.fromkeys(paths))

    def problems(self, root: Path, images: Iterable[_Found]) -> list[BadFile]:
        """Images without a label, and those with several."""
        problems = []
        for found in images:
            labels = self.of(found)
            if not labels:
                missing = " or ".join(
                    str(root / filled(pattern, found.captures)) for pattern in self.patterns
                )
                problems.append(BadFile(str(root / found.path), f"has no label: there is no {missing}"))
            for label in labels[1:]:
                also = f"is a second label of {root / found.path}, beside {root / labels[0]}; remove one"
                problems.append(BadFile(str(root / label), also))
        return problems

    def unpaired(self, root: Path, images: Iterable[_Found]) -> list[BadFile]:
        """Labels that belong to no image."""
        used = {path for found in images for path in self.of(found)}
        alone = {path for paths in self.present.values() for path in paths} - used
        return [BadFile(str(root / path), "is a label without an image") for path in sorted(alone)]


def _present(root: Path, patterns: Sequence[str], images: Iterable[_Found]) -> set[str]:
    """The labels of these images that are there; no other label is looked at unless an ending differs in case."""
    present: set[str] = set()
    for found in images:
        for path in (filled(pattern, found.captures) for pattern in patterns):
            present |= {path} if (root / path).is_file() else _in_other_case(root, path)
    return present


def _in_other_case(root: Path, path: str) -> set[str]:
    folder = (root / path).parent
    names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
    beside = (path.removesuffix(PurePosixPath(path).name) + name for name in names)
    wanted = without_case_of_ending(path)
    return {other for other in beside if without_case_of_ending(other) == wanted and (root / other).is_file()}


def _matches(spec: DatasetSpec, root: Path, key: str, patterns: Sequence[str]) -> Found:
    try:
        found = find_files(root, patterns)
    except DataError as error:
        raise DataError(f"{spec.location}: splits.{key}: {error}") from error
    if not found.files:
        omissions = "".join(f" {line}." for line in describe_omissions(found.left_out))
        listed = "`, `".join(patterns)
        raise DataError(
            f"{spec.location}: splits.{key}: nothing matches `{listed}` below {root}."
            f" {_what_is_there(root, patterns[0])}{omissions}"
        )
    return found


def _what_is_there(root: Path, pattern: str) -> str:
    """The deepest folder of the pattern that exists and names in it: the mistake is usually seen at once."""
    folder = root
    for segment in pattern.split("/")[:-1]:
        if "*" in segment or not (folder / segment).is_dir():
            break
        folder /= segment
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return f"{folder} holds {', '.join(names[:6]) or 'nothing'}{', ...' if len(names) > 6 else ''}"


def _by_name(root: Path, images: Iterable[_Found]) -> tuple[dict[str, _Found], list[BadFile]]:
    named: dict[str, _Found] = {}
    problems = []
    for found in images:
        name = captured_name(found.captures)
        if not is_plain_text(found.path):
            problems.append(BadFile(ascii(str(root / found.path)), "its name is not plain text; rename it"))
        elif not name:
            problems.append(BadFile(str(root / found.path), "its name lies outside every *; widen the *"))
        elif name in named:
            problems.append(
                BadFile(str(root / found.path), f"has the name `{name}`, as has {root / named[name].path}")
            )
        else:
            named[name] = found
    return dict(sorted(named.items())), problems


def read_list(
    spec: DatasetSpec, split: str, named: Mapping[str, Named]
) -> tuple[dict[str, Named], list[BadFile]]:
    """The items that a split's `list` file names, in its order, and the lines that are wrong."""
    file = spec.resolved(spec.split(split).list_file or "")
    where = f"{spec.location}: splits.{split}.list"
    try:
        lines = listed_names(file, named)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    example = next(iter(named), "")
    chosen: dict[str, Named] = {}
    problems = []
    for name, number in ((line.name, line.line) for line in lines):
        if name in chosen:
            problems.append(BadFile(str(file), f"line {number}: `{name}` is listed twice; remove one"))
        elif name in named:
            chosen[name] = named[name]
        else:
            wrong = f"line {number}: no image `{name}`; names look like `{example}`"
            problems.append(BadFile(str(file), wrong))
    if not chosen:
        raise DataError(f"{where}: no line of {file} names an image; names look like `{example}`")
    return chosen, problems


def _only(
    spec: DatasetSpec, split: str, named: Mapping[str, _Found], names: Sequence[str]
) -> dict[str, _Found]:
    items = tuple(Item(name, Path(found.path)) for name, found in named.items())
    chosen = Listing(split, False, items, ()).chosen(names, spec.location)
    return {name: named[name] for name in chosen.names}


def _listing(
    spec: DatasetSpec,
    split: str,
    named: Mapping[str, _Found],
    partners: _Partners | None,
    problems: list[BadFile],
    walk: Found,
) -> Listing:
    root = spec.resolved_root()
    items, files = [], []
    for name, found in named.items():
        label = partners.of(found)[0] if partners is not None else None
        items.append(Item(name, root / found.path, root / label if label is not None else None))
        files += [(path, _size(root / path)) for path in (found.path, label) if path is not None]
    if partners is not None:
        files += [(f"mask {path}", _size(spec.resolved(path))) for path in spec.mask_paths()]
    ordered = sorted(problems, key=lambda bad: (bad.path, bad.reason))
    omissions = tuple(describe_omissions(walk.left_out, walk.links))
    return Listing(split, partners is not None, tuple(items), tuple(files), tuple(ordered), omissions)


def _size(path: Path) -> int:
    """Bytes of a file; -1 for one that cannot be looked at (an absent mask): `prepare` reports it."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
