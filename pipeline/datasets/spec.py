"""Dataset files `config/datasets/<name>.yaml`: where pictures lie and what raw ids mean; no torch.

A dataset of one's own:

    root: ${MY_DATA}/drive
    splits:
      train: {images: "photos/*.jpg"}
      val: {images: "held_out/*.jpg", labels: "held_out_ids/*.png"}
    ids: {road: [1, 2], person: 7, ignore: [0, "3-6", 255]}

`docs/datasets.md` explains every key. The folder is only ever read.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.datasets.nearest import far_values, nearest_values
from pipeline.datasets.patterns import pattern_problem, wildcards
from pipeline.datasets.raw_ids import RawIds, class_by_raw_id, expanded_root
from pipeline.datasets.taxonomy import IGNORE, IGNORE_NAME, Color, Taxonomy
from pipeline.schema.names import nearest
from pipeline.schema.strict import Strict

Format = Literal["files", "streets", "mnist", "usps", "svhn"]
LabelKind = Literal["ids8", "colors", "synthia", "mask", "grey"]
Unnamed = Literal["error", "nearest", "ignore"]
Patterns = str | Annotated[tuple[str, ...], Field(min_length=1)]
Side = Annotated[int, Field(ge=32, le=2048)]
STREETS_SIZE = (160, 96)

_SPLIT_KEYS: dict[str, tuple[str, ...]] = {
    "files": ("images", "labels", "list"),
    "streets": ("count",),
    "mnist": ("part", "list"),
    "usps": ("part", "list"),
    "svhn": ("part", "list"),
}
_OPTIONAL_KEYS = ("labels", "list")


def _as_tuple(patterns: Patterns | None) -> tuple[str, ...]:
    if patterns is None:
        return ()
    return (patterns,) if isinstance(patterns, str) else patterns


class SplitSpec(Strict):
    """One split of a dataset; which keys it takes depends on the dataset's `format`."""

    images: Annotated[
        Patterns | None,
        Field(
            description="pattern of the images below root, or several; each * (** for folders) is captured"
        ),
    ] = None
    labels: Annotated[
        Patterns | None,
        Field(description="pattern of the labels, or several: the captures of an image fill its * in order"),
    ] = None
    list_file: Annotated[
        str | None,
        Field(alias="list", description="file with one name per line: only these; ./ is beside this file"),
    ] = None
    part: Annotated[
        Literal["train", "test"] | None, Field(description="which archive of a digits dataset")
    ] = None
    count: Annotated[
        int | None, Field(ge=1, le=100_000, description="number of images of the built-in streets")
    ] = None

    @model_validator(mode="after")
    def _patterns_fit(self) -> "SplitSpec":
        for pattern in (*self.image_patterns, *self.label_patterns):
            problem = pattern_problem(pattern)
            if problem:
                raise ValueError(problem)
        if self.images is None:
            return self
        shape = wildcards(self.image_patterns[0])
        if not shape:
            raise ValueError(
                f"images: `{self.image_patterns[0]}` has no *; write a pattern of all images of the split"
            )
        for key, patterns in (("images", self.image_patterns), ("labels", self.label_patterns)):
            for pattern in patterns:
                if wildcards(pattern) != shape:
                    raise ValueError(
                        f"{key}: `{pattern}` needs the same * and ** in the same order as images"
                        f" `{self.image_patterns[0]}`"
                    )
        return self

    @property
    def image_patterns(self) -> tuple[str, ...]:
        """The patterns of the images; none where the format has no files of its own."""
        return _as_tuple(self.images)

    @property
    def label_patterns(self) -> tuple[str, ...]:
        """The patterns of the labels; none where the split has no labels."""
        return _as_tuple(self.labels)

    @property
    def has_labels(self) -> bool:
        """Whether the split names labels, or its format brings them."""
        return self.images is None or self.labels is not None

    def given_keys(self) -> set[str]:
        """The keys that the dataset file gives for this split."""
        return set(self.model_dump(by_alias=True, exclude_none=True))


class DatasetFile(Strict):
    """What a dataset file says."""

    root: Annotated[
        str, Field(description="folder of the dataset; ${VARIABLES} and ~ are expanded when it is used")
    ] = ""
    license: Annotated[str, Field(description="licence of the data")] = ""
    source: Annotated[str, Field(description="who made the data")] = ""
    where: Annotated[str, Field(description="where to get the data, and how to lay it out")] = ""
    format: Annotated[
        Format, Field(description="files, the built-in streets, or a torchvision digits dataset")
    ] = "files"
    labels_as: Annotated[
        LabelKind,
        Field(
            description="ids8: grey or palette of up to 8 bits, the pixel is the id; grey: any picture, the grey"
            " level is the id; colors: `colors` gives the meaning; synthia: 16-bit, id in the first channel;"
            " mask: as grey, brighter than 127 is raw id 1, else 0"
        ),
    ] = "ids8"
    unnamed: Annotated[
        Unnamed,
        Field(
            description="pixels of a value or color that is not named: error; nearest: they take the meaning of"
            " the nearest one; ignore"
        ),
    ] = "error"
    splits: Annotated[dict[str, SplitSpec], Field(min_length=1, description="the splits by name")]
    ids: Annotated[
        dict[str, RawIds],
        Field(description='raw ids of every class and of `ignore`: 7, [7, 8] or [0, "4-6"]'),
    ] = {}
    colors: Annotated[
        dict[str, tuple[Color, ...]],
        Field(description="for color labels: the colors of every class and of `ignore`"),
    ] = {}
    ignore_mask: Annotated[
        str | dict[str, str] | None,
        Field(description="picture whose non-zero pixels are ignored in all labels, or one per name pattern"),
    ] = None
    skip: Annotated[tuple[str, ...], Field(description="names of images that are left out on purpose")] = ()
    domain: Annotated[
        Literal["rendered", "camera"] | None, Field(description="look of the built-in streets")
    ] = None
    seed: Annotated[int, Field(ge=0, description="seed of the built-in streets")] = 0
    size: Annotated[
        tuple[Side, Side], Field(description="width and height of the built-in streets in pixels")
    ] = STREETS_SIZE
    expected: Annotated[
        dict[str, Annotated[int, Field(ge=1)]],
        Field(description="published number of images per split, for `doctor`"),
    ] = {}

    @field_validator("ids", "colors", mode="before")
    @classmethod
    def _text_keys(cls, value: object) -> object:
        # YAML reads the digits' class names 0, 1, ... as numbers.
        return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _keys_fit_the_format(self) -> Self:
        takes = _SPLIT_KEYS[self.format]
        for name, split in self.splits.items():
            given = split.given_keys()
            for key in sorted(given - set(takes)):
                raise ValueError(
                    f"splits.{name}.{key}: `format: {self.format}` takes {', '.join(takes)} only"
                )
            for key in sorted(set(takes) - given - set(_OPTIONAL_KEYS)):
                raise ValueError(f"splits.{name}.{key}: missing; `format: {self.format}` needs it")
        if self.format == "streets" and (self.root or self.domain is None):
            raise ValueError("with `format: streets` give `domain: rendered` or `camera`, and no `root`")
        if self.format != "streets" and (self.domain, self.seed, self.size) != (None, 0, STREETS_SIZE):
            raise ValueError("domain, seed, size: only with `format: streets`; remove them")
        if self.format != "streets" and not self.root:
            raise ValueError("root: missing; write the folder of the dataset")
        for name in sorted(set(self.expected) - set(self.splits)):
            raise ValueError(f"expected: no split `{name}`; {nearest(name, self.splits)}")
        return self

    @model_validator(mode="after")
    def _labels_have_a_meaning(self) -> Self:
        if self.labels_as == "colors" and self.ids:
            raise ValueError("ids: not used with `labels_as: colors`; name the colors under `colors`")
        if self.labels_as != "colors" and self.colors:
            raise ValueError("colors: only with `labels_as: colors`; add that line or remove `colors`")
        if self.format != "files" and (self.labels_as != "ids8" or self.ignore_mask):
            raise ValueError(f"labels_as, ignore_mask: not used with `format: {self.format}`; remove them")
        if any(split.has_labels for split in self.splits.values()) and not (self.ids or self.colors):
            key = "colors" if self.labels_as == "colors" else "ids"
            raise ValueError(f"{key}: missing; name the class of every raw value (unused ones: `ignore`)")
        if self.unnamed != "error" and (self.format != "files" or self.labels_as in ("synthia", "mask")):
            raise ValueError(
                "unnamed: only with `labels_as: ids8`, `grey` or `colors` of `format: files`; remove it"
            )
        class_by_raw_id(self.ids)
        colors = [color for _, color in self.color_list()]
        if len(set(colors)) < len(colors):
            twice = next(color for color in colors if colors.count(color) > 1)
            raise ValueError(f"colors: {list(twice)} is given twice; it can have one meaning")
        if len(colors) > IGNORE:
            raise ValueError(f"colors: {len(colors)} colors; at most {IGNORE} are possible")
        return self

    def color_list(self) -> tuple[tuple[str, Color], ...]:
        """Class and color by raw id: a color label is decoded to the places of its colors here."""
        return tuple((name, color) for name, colors in self.colors.items() for color in colors)


class DatasetSpec(DatasetFile):
    """A dataset file with its name and place, which whoever reads it fills in."""

    name: Annotated[str, Field(description="name of the dataset, for messages")] = ""
    file: Annotated[str, Field(description="path of the dataset file, for messages and for ./ paths")] = ""

    def split_names(self) -> tuple[str, ...]:
        """Names of the splits in the order of the file."""
        return tuple(self.splits)

    def split(self, name: str) -> SplitSpec:
        """The split of that name; ConfigError with the nearest name when there is none."""
        if name not in self.splits:
            raise ConfigError(f"{self.location}: no split `{name}`; {nearest(name, self.splits)}")
        return self.splits[name]

    @property
    def location(self) -> str:
        """How messages call the dataset: its file, or its name when it came without one."""
        return self.file or f"dataset {self.name or '(unnamed)'}"

    def resolved_root(self) -> Path:
        """The dataset's folder, variables expanded; DataError when one is unset or the folder absent."""
        folder = Path(expanded_root(self.root, self.location)).expanduser()
        if not folder.is_dir():
            hint = self.where or "Put the data there or change `root`."
            raise DataError(f"{self.location}: root `{self.root}`: there is no folder {folder}. {hint}")
        return folder

    def resolved(self, path: str) -> Path:
        """A path of the dataset file: `./x` lies beside the file, everything else below the root."""
        if path.startswith("./"):
            return Path(self.file).parent / path[2:]
        return self.resolved_root() / path

    def mask_paths(self) -> tuple[str, ...]:
        """The pictures under `ignore_mask`, as written there."""
        if self.ignore_mask is None:
            return ()
        return (self.ignore_mask,) if isinstance(self.ignore_mask, str) else tuple(self.ignore_mask.values())

    def raw_classes(self) -> dict[int, str]:
        """Class name, or `ignore`, of every raw value that has a meaning."""
        if self.labels_as == "colors":
            named = {index: name for index, (name, _) in enumerate(self.color_list())}
        else:
            named = self._named_values()
        if self.unnamed == "nearest" and self.labels_as != "colors":
            nearest = nearest_values(named)
            named |= {value: named[int(nearest[value])] for value in range(256)}
        elif self.unnamed == "ignore":
            named = {**dict.fromkeys(range(256), IGNORE_NAME), **named}
        return named

    def _named_values(self) -> dict[int, str]:
        """Class name, or `ignore`, of the values in the file; of a mask's, 0 to 127 and 128 to 255."""
        named = class_by_raw_id(self.ids)
        if self.labels_as != "mask":
            return named
        levels = (range(128), range(128, 256))
        return {level: name for raw, name in named.items() if raw < 2 for level in levels[raw]}

    def named_ids(self) -> frozenset[int]:
        """Every raw value that has a meaning; another one in a label file is an error."""
        return frozenset(self.raw_classes())

    def far_ids(self) -> NDArray[np.bool_]:
        """Raw values that have a meaning, but are far from every named one: bool (256,); none where all are exact."""
        if self.labels_as == "mask":
            return far_values((0, 255))
        if self.unnamed == "nearest" and self.labels_as != "colors":
            return far_values(class_by_raw_id(self.ids))
        return np.zeros(256, dtype=np.bool_)

    def lookup(self, taxonomy: Taxonomy) -> NDArray[np.uint8]:
        """Class id of every raw id, uint8 (256,), 255 for `ignore` and for what is not named.

        ConfigError when a class is neither in the taxonomy nor among the classes that it leaves out.
        """
        table = np.full(256, IGNORE, dtype=np.uint8)
        left_out = {IGNORE_NAME, *taxonomy.ignored}
        for raw, name in self.raw_classes().items():
            if name in left_out:
                continue
            if name not in taxonomy.names:
                key = "colors" if self.labels_as == "colors" else "ids"
                hint = nearest(name, (*taxonomy.names, IGNORE_NAME))
                raise ConfigError(
                    f"{self.location}: {key}.{name}: taxonomy {taxonomy.name} has no such class; {hint}"
                )
            table[raw] = taxonomy.index(name)
        return table
