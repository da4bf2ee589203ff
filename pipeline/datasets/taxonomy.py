"""Taxonomies: the classes a network predicts, their colors, the subsets of a report; free of torch.

A taxonomy is one file `config/taxonomies/<name>.yaml`; `docs/datasets.md` shows its keys.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.artifacts.errors import ConfigError
from pipeline.numerics import IGNORE
from pipeline.schema.names import nearest
from pipeline.schema.strict import Strict

IGNORE_NAME = "ignore"
"""The word for pixels of id `IGNORE` where a dataset file names its raw ids."""

TaxonomyPart = Literal["classes", "colors", "ignored", "rare", "subsets", "things"]
"""What a stage may read of a taxonomy, and what its key then holds; `classes` are the names in their order."""

Channel = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Channel, Channel, Channel]


class ClassEntry(Strict):
    """One class: its name in every table and its color in every picture."""

    name: Annotated[str, Field(min_length=1, description="name of the class")]
    color: Annotated[Color, Field(description="red, green, blue, 0 to 255")]


class Taxonomy(Strict):
    """Class names in the order of their ids 0, 1, ..., colors, and the subsets of a report."""

    name: Annotated[str, Field(min_length=1, description="name of the taxonomy")]
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2, max_length=IGNORE, description="by id")]
    subsets: Annotated[
        dict[str, tuple[str, ...]],
        Field(description="further means over some classes, from the same confusion matrix"),
    ] = {}
    things: Annotated[tuple[str, ...], Field(description="classes of countable objects")] = ()
    rare: Annotated[tuple[str, ...], Field(description="classes that the rare-class rankings count")] = ()
    ignored: Annotated[
        tuple[str, ...],
        Field(description="classes that datasets may name and this taxonomy leaves out as ignored"),
    ] = ()

    @model_validator(mode="after")
    def _names_are_known_and_unique(self) -> "Taxonomy":
        _refuse_twice("class", self.names)
        _refuse_twice("color", [entry.color for entry in self.classes])
        if IGNORE_NAME in self.names:
            raise ValueError(f"`{IGNORE_NAME}` cannot be a class; pixels of no class have the id {IGNORE}")
        both = set(self.ignored) & set(self.names)
        if both:
            raise ValueError(f"{', '.join(sorted(both))}: both a class and under `ignored`; remove one")
        groups = {**{f"subsets.{key}": value for key, value in self.subsets.items()}}
        groups |= {"things": self.things, "rare": self.rare}
        for where, members in groups.items():
            _refuse_twice(f"{where}: class", members)
            for member in members:
                if member not in self.names:
                    raise ValueError(f"{where}: no class `{member}`; {nearest(member, self.names)}")
        return self

    @property
    def num_classes(self) -> int:
        """Number of classes; ids run from 0 to one less."""
        return len(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(entry.name for entry in self.classes)

    @property
    def thing_ids(self) -> tuple[int, ...]:
        """Ids of the classes of countable objects."""
        return tuple(self.index(name) for name in self.things)

    def index(self, name: str) -> int:
        """Id of a class; ConfigError with the nearest name when there is none."""
        if name not in self.names:
            raise ConfigError(f"taxonomy {self.name}: no class `{name}`; {nearest(name, self.names)}")
        return self.names.index(name)

    def subset_ids(self, name: str) -> tuple[int, ...]:
        """Class ids of a subset, in its order; ConfigError with the nearest name when there is none."""
        if name not in self.subsets:
            raise ConfigError(f"taxonomy {self.name}: no subset `{name}`; {nearest(name, self.subsets)}")
        return tuple(self.index(member) for member in self.subsets[name])

    def parts(self, wanted: Collection[TaxonomyPart]) -> dict[str, Any]:
        """These parts as plain data, from which `of_parts` makes a taxonomy again."""
        known = {
            "classes": list(self.names),
            "colors": [list(entry.color) for entry in self.classes],
            "ignored": list(self.ignored),
            "rare": list(self.rare),
            "subsets": {name: list(members) for name, members in self.subsets.items()},
            "things": list(self.things),
        }
        return {part: value for part, value in known.items() if part in wanted}

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any]) -> "Taxonomy":
        """A taxonomy that says no more than these parts, `classes` among them; without `colors` they mean nothing."""
        names = parts["classes"]
        colors = parts.get("colors", [(index, 0, 0) for index in range(len(names))])
        classes = [{"name": name, "color": color} for name, color in zip(names, colors, strict=True)]
        given = {part: value for part, value in parts.items() if part not in ("classes", "colors")}
        return cls.model_validate({"name": "of a stage", "classes": classes, **given})

    def palette(self) -> NDArray[np.uint8]:
        """Color of every id, uint8 (256, 3)."""
        return palette_of([entry.color for entry in self.classes])


def palette_of(colors: Sequence[Color]) -> NDArray[np.uint8]:
    """Color of every id, uint8 (256, 3), from those of the classes; black for the others, 255 among them."""
    table = np.zeros((256, 3), dtype=np.uint8)
    if colors:
        table[: len(colors)] = colors
    return table


def _refuse_twice(what: str, values: Iterable[object]) -> None:
    twice = [str(value) for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {', '.join(twice)} is given twice; each must be unique")
