"""Listing of datasets that are folders of pictures: patterns, list files, partners, masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.artifacts.errors import DataError
from pipeline.datasets.items import BadFile, Item, Listing
from pipeline.datasets.patterns import Captures, captured_name, filled, matching_files
from pipeline.datasets.spec import DatasetSpec

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
    root = spec.resolved_root()
    matches = _matches(spec, root, f"{split}.images", spec.split(split).images or "")
    everything, problems = _by_name(root, [_Found(path, captures) for path, captures in matches])
    named = everything
    if spec.split(split).list_file:
        named, missing = read_list(spec, split, everything)
        problems += missing
    named = {name: found for name, found in named.items() if name not in spec.skip}
    if names is not None:
        named = _only(spec, split, named, names)
    labels = spec.split(split).labels if with_labels else None
    if labels is None:
        return _listing(spec, split, named, None, problems)
    partners = {name: filled(labels, found.captures) for name, found in named.items()}
    if names is None:
        present = {path for path, _ in _matches(spec, root, f"{split}.labels", labels)}
        problems += _lonely_labels(root, present, labels, everything.values())
    else:
        present = {path for path in partners.values() if (root / path).is_file()}
    problems += [
        BadFile(str(root / named[name].path), f"has no label: there is no {root / path}")
        for name, path in partners.items()
        if path not in present
    ]
    whole = {name: found for name, found in named.items() if partners[name] in present}
    return _listing(spec, split, whole, labels, problems)


def _matches(spec: DatasetSpec, root: Path, key: str, pattern: str) -> list[tuple[str, Captures]]:
    try:
        found = sorted(matching_files(root, pattern))
    except OSError as error:
        raise DataError(f"{spec.where_it_is}: splits.{key}: {error.filename}: {error.strerror}") from error
    if not found:
        raise DataError(
            f"{spec.where_it_is}: splits.{key}: nothing matches `{pattern}` below {root}."
            f" {_what_is_there(root, pattern)}"
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
        if not _is_text(found.path):
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


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\n" not in path and "\r" not in path


def read_list(
    spec: DatasetSpec, split: str, named: Mapping[str, Named]
) -> tuple[dict[str, Named], list[BadFile]]:
    """The items that a split's `list` file names, in its order, and the lines that are wrong."""
    file = spec.resolved(spec.split(split).list_file or "")
    where = f"{spec.where_it_is}: splits.{split}.list"
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: {file} cannot be read: {error}") from error
    example = next(iter(named), "")
    chosen: dict[str, Named] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
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
    chosen = Listing(split, False, items, ()).chosen(names, spec.where_it_is)
    return {name: named[name] for name in chosen.names}


def _lonely_labels(root: Path, present: set[str], pattern: str, images: Iterable[_Found]) -> list[BadFile]:
    partners = {filled(pattern, found.captures) for found in images}
    return [BadFile(str(root / path), "is a label without an image") for path in sorted(present - partners)]


def _listing(
    spec: DatasetSpec,
    split: str,
    named: Mapping[str, _Found],
    labels: str | None,
    problems: list[BadFile],
) -> Listing:
    root = spec.resolved_root()
    items, files = [], []
    for name, found in named.items():
        label = filled(labels, found.captures) if labels is not None else None
        items.append(Item(name, root / found.path, root / label if label is not None else None))
        files += [(path, _size(root / path)) for path in (found.path, label) if path is not None]
    if labels is not None:
        files += [(f"mask {path}", _size(spec.resolved(path))) for path in spec.mask_paths()]
    ordered = sorted(problems, key=lambda bad: (bad.path, bad.reason))
    return Listing(split, labels is not None, tuple(items), tuple(files), tuple(ordered))


def _size(path: Path) -> int:
    """Bytes of a file; -1 for one that cannot be looked at (a broken link): `prepare` reports it."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
