"""The plain values that describe a split's content: items, files that cannot be used, and their listing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.artifacts.errors import DataError


@dataclass(frozen=True)
class Item:
    """One image: its name, its file, its label's file, and its number where many images share a file."""

    name: str
    image: Path
    label: Path | None = None
    index: int = -1


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The items of one split in order; `files`: (path below root, bytes); `problems`: what is unusable.

    `omissions`: one line per kind of file that was left out (hidden, of an unread format, ...).
    """

    split: str
    with_labels: bool
    items: tuple[Item, ...]
    files: tuple[tuple[str, int], ...]
    problems: tuple[BadFile, ...] = ()
    omissions: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the items in order."""
        return tuple(item.name for item in self.items)

    def chosen(self, names: Sequence[str], where: str) -> "Listing":
        """Only the named items, in that order; DataError for an unknown or a repeated name."""
        by_name = {item.name: item for item in self.items}
        missing = [name for name in names if name not in by_name]
        if missing:
            raise DataError(
                f"{where}: split {self.split} has no usable image `{missing[0]}`"
                f" ({len(missing)} of the {len(names)} names asked for are absent)"
            )
        if len(set(names)) < len(names):
            raise DataError(f"{where}: split {self.split}: a name is asked for twice; each can be used once")
        return replace(self, items=tuple(by_name[name] for name in names))
