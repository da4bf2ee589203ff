"""Readers: an item's image and raw label, whatever the dataset's format; made anew in every process."""

import fnmatch
import functools
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.errors import DataError
from pipeline.datasets.archives import ARCHIVE_FILES
from pipeline.datasets.decoding import RawLabel, read_color_label, read_image, read_label, read_mask
from pipeline.datasets.items import Item
from pipeline.datasets.spec import DatasetSpec

Pixels = NDArray[np.uint8]


class Reader(Protocol):
    """Gives an item's pixels; DataError names the file and what is wrong with it."""

    one_label: bool
    """Whether a label is one number for the whole image: a map of 1x1 that is never resized."""

    def image(self, item: Item) -> Pixels:
        """RGB uint8 (H, W, 3)."""
        ...

    def label(self, item: Item) -> RawLabel:
        """The raw values, uint8 (H, W), and how many of them are far from everything named."""
        ...

    def ignored(self, item: Item, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Pixels that the dataset's mask takes out, bool (H, W) = `shape`; None without a mask."""
        ...


def open_reader(spec: DatasetSpec, split: str) -> Reader:
    """The reader for a dataset's format."""
    if spec.format == "files":
        return FileReader(spec)
    if spec.format == "streets":
        return StreetsReader(spec, split)
    return DigitsReader(spec, split)


class FileReader:
    """Pictures in folders."""

    one_label = False

    def __init__(self, spec: DatasetSpec) -> None:
        self.spec = spec
        self.colors = tuple(color for _, color in spec.color_list())
        self.far_ids = spec.far_ids()
        self._mask = functools.lru_cache(maxsize=32)(self._read_mask)

    def image(self, item: Item) -> Pixels:
        """RGB uint8 (H, W, 3)."""
        return read_image(item.image)

    def label(self, item: Item) -> RawLabel:
        """The raw values, uint8 (H, W)."""
        assert item.label is not None, f"{item.name} is listed without labels"
        if self.spec.labels_as == "colors":
            return read_color_label(item.label, self.colors, self.spec.unnamed)
        values = read_label(item.label, self.spec.labels_as)
        return RawLabel(values, int(self.far_ids[values].sum()) if self.far_ids.any() else 0)

    def ignored(self, item: Item, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """The dataset's mask for this item, resized (nearest) to `shape`."""
        masks = self.spec.ignore_mask
        if masks is None:
            return None
        if isinstance(masks, str):
            return self._mask(masks, shape)
        for pattern, path in masks.items():
            if fnmatch.fnmatchcase(item.name, pattern):
                return self._mask(path, shape)
        raise DataError(f"{item.image}: no pattern of `ignore_mask` matches its name `{item.name}`; add one")

    def _read_mask(self, path: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
        mask = Image.fromarray(read_mask(self.spec.resolved(path)))
        return np.asarray(mask.resize((shape[1], shape[0]), Image.Resampling.NEAREST))


class StreetsReader:
    """The built-in street scenes, drawn on demand; both calls for an item draw it once."""

    one_label = False

    def __init__(self, spec: DatasetSpec, split: str) -> None:
        from pipeline.streets.images import render_scene

        assert spec.domain is not None
        draw = functools.partial(render_scene, spec.domain, split, seed=spec.seed, size=spec.size)
        self._draw = functools.lru_cache(maxsize=1)(lambda index: draw(index))

    def image(self, item: Item) -> Pixels:
        """RGB uint8 (H, W, 3)."""
        return self._draw(item.index)[0]

    def label(self, item: Item) -> RawLabel:
        """Class ids in CamVid's order, uint8 (H, W)."""
        return RawLabel(self._draw(item.index)[1])

    def ignored(self, item: Item, shape: tuple[int, int]) -> None:
        """No pixel."""


class DigitsReader:
    """MNIST, USPS and SVHN as torchvision.datasets reads them; nothing is downloaded."""

    one_label = True

    def __init__(self, spec: DatasetSpec, split: str) -> None:
        part = spec.split(split).part or "train"
        file = spec.resolved_root() / ARCHIVE_FILES[spec.format, part][0]
        try:
            self._data = _torchvision_dataset(spec, part)
        except (RuntimeError, ValueError, OSError, EOFError, AssertionError, KeyError) as error:
            raise DataError(f"{file}: torchvision cannot read it as {spec.format}: {error}") from error

    def image(self, item: Item) -> Pixels:
        """RGB uint8 (H, W, 3); grey digits have three equal channels."""
        return np.asarray(self._data[item.index][0].convert("RGB"))

    def label(self, item: Item) -> RawLabel:
        """The digit, uint8 (1, 1)."""
        return RawLabel(np.array([[int(self._data[item.index][1])]], dtype=np.uint8))

    def ignored(self, item: Item, shape: tuple[int, int]) -> None:
        """No pixel."""


def _torchvision_dataset(spec: DatasetSpec, part: str) -> Any:
    from torchvision import datasets

    root = spec.resolved_root()
    if spec.format == "svhn":
        return datasets.SVHN(root, split=part)
    kind = datasets.MNIST if spec.format == "mnist" else datasets.USPS
    return kind(root, train=part == "train")
