"""The work on one shard of a split: decode, check, resize, write; what the worker processes run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import digest_of, read_json, write_json
from pipeline.data.records import RecordWriter, ShardWriter
from pipeline.datasets.checks import LabelMode
from pipeline.datasets.items import BadFile, Item
from pipeline.datasets.readers import Reader, open_reader
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE, Taxonomy
from pipeline.numerics import WidthHeight

Pixels = NDArray[np.uint8]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass
class ShardResult:
    """What a shard contributes: bad files, images by size, pixels and images by class id (256 each).

    `far`: for labels that hold any, how many of their pixels are far from every named value or color.
    """

    shard: int
    bad: list[BadFile] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    pixels: list[int] = field(default_factory=lambda: [0] * (IGNORE + 1))
    images: list[int] = field(default_factory=lambda: [0] * (IGNORE + 1))
    far: dict[str, int] = field(default_factory=dict)

    def count(self, image: Pixels, label: Pixels | None) -> None:
        """Add one image and its label of class ids."""
        self.sizes[f"{image.shape[1]}x{image.shape[0]}"] += 1
        if label is not None:
            counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
            self.pixels = (np.asarray(self.pixels) + counts).tolist()
            self.images = (np.asarray(self.images) + (counts > 0)).tolist()


class _BadShardError(Exception):
    """Ends the writing of a shard that holds bad files; the result tells which."""


@dataclass(frozen=True)
class CacheContent:
    """What a cache is to hold: images of a split, and their labels.

    `size`: (width, height) in pixels; None keeps every image's own. `labels`: `none` opens no label file,
    `working` resizes labels with the images, `native` keeps their size; these two need `taxonomy`. `names`
    chooses images, in order.
    """

    spec: DatasetSpec
    split: str
    taxonomy: Taxonomy | None
    size: WidthHeight | None
    labels: LabelMode
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    names: Sequence[str] | None = None


class Converter:
    """Converts shards of one split; may be sent to other processes, where it opens its reader anew."""

    def __init__(self, content: CacheContent, writers: Sequence[RecordWriter]) -> None:
        self.spec, self.split = content.spec, content.split
        self.size, self.labels, self.resample = content.size, content.labels, content.resample
        self.writers = tuple(writers)
        taxonomy = content.taxonomy if content.labels != "none" else None
        self.lookup = content.spec.lookup(taxonomy) if taxonomy is not None else None
        self.named = content.spec.named_ids()
        self._reader: Reader | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_reader": None}

    @property
    def reader(self) -> Reader:
        """The reader of this process."""
        if self._reader is None:
            self._reader = open_reader(self.spec, self.split)
        return self._reader

    def finished(self, shard: int, items: Sequence[Item]) -> ShardResult | None:
        """The result of a shard that is whole in the state and whose files are still as they were."""
        path = self._result_file(shard)
        if not path.exists() or not all(writer.is_written(shard) for writer in self.writers):
            return None
        found = read_json(path)
        if found.pop("stamp") != self._stamp(items):
            return None
        return ShardResult(shard, [], Counter(found["sizes"]), found["pixels"], found["images"], found["far"])

    def convert(self, shard: int, items: Sequence[Item]) -> ShardResult:
        """Write a shard, or, if any of its files is bad, nothing of it; the result tells which."""
        self._result_file(shard).unlink(missing_ok=True)
        stamp = self._stamp(items)
        result = ShardResult(shard)
        try:
            with self.writers[0].shard(shard) as images:
                if self.labels == "none":
                    self._write_all(items, images, None, result)
                else:
                    with self.writers[1].shard(shard) as labels:
                        self._write_all(items, images, labels, result)
        except _BadShardError:
            return result
        described = {
            "sizes": result.sizes,
            "pixels": result.pixels,
            "images": result.images,
            "far": result.far,
        }
        write_json(self._result_file(shard), {**described, "stamp": stamp})
        return result

    def _write_all(
        self, items: Sequence[Item], images: ShardWriter, labels: ShardWriter | None, result: ShardResult
    ) -> None:
        for item in items:
            try:
                image, label = self.pair(item, result)
            except DataError as error:
                result.bad.append(_bad_file(item, error))
                continue
            if result.bad:
                continue  # the shard is lost, but every further fault is still found
            images.add(image)
            if labels is not None and label is not None:
                labels.add(label)
            result.count(image, label)
        if result.bad:
            raise _BadShardError

    def pair(self, item: Item, result: ShardResult) -> tuple[Pixels, Pixels | None]:
        """The resized image and, unless labels are off, its class ids; every check that concerns one item."""
        image = self.reader.image(item)
        label = None if self.lookup is None else self._class_ids(item, image.shape[:2], result)
        if self.size is not None:
            image = _resized(image, self.size, _FILTERS[self.resample])
        if (
            label is not None
            and self.size is not None
            and self.labels == "working"
            and not self.reader.one_label
        ):
            label = _resized(label, self.size, Image.Resampling.NEAREST)
        return image, label

    def _class_ids(self, item: Item, image_shape: tuple[int, ...], result: ShardResult) -> Pixels:
        assert self.lookup is not None
        read = self.reader.label(item)
        raw = read.values
        if read.far:
            result.far[str(item.label)] = read.far
        if not self.reader.one_label and raw.shape != image_shape:
            raise DataError(
                f"{item.label}: the label is {raw.shape[1]}x{raw.shape[0]}, its image {item.image}"
                f" {image_shape[1]}x{image_shape[0]} (upright); they must have the same size"
            )
        unnamed = sorted(set(np.flatnonzero(np.bincount(raw.ravel(), minlength=256)).tolist()) - self.named)
        if unnamed:
            listed = ", ".join(map(str, unnamed[:12])) + (", ..." if len(unnamed) > 12 else "")
            raise DataError(
                f"{item.label or item.image}: raw ids {listed} are not named in the dataset file;"
                " put each under its class or under `ignore` in `ids`"
            )
        label = self.lookup[raw]
        ignored = self.reader.ignored(item, (raw.shape[0], raw.shape[1]))
        if ignored is not None:
            label[ignored] = IGNORE
        return label

    def _result_file(self, shard: int) -> Path:
        return self.writers[0].state / f"shard-{shard:05d}.json"

    def _stamp(self, items: Sequence[Item]) -> str:
        """Digest of the settings and of names, sizes and times of a shard's files.

        A file that was fixed since, or an id map that was edited, makes the shard again.
        """
        lookup = None if self.lookup is None else self.lookup.tolist()
        settings = [
            *(self.size, self.labels, self.resample, lookup, sorted(self.named), self.spec.ignore_mask),
            *(self.spec.labels_as, self.spec.unnamed),
        ]
        paths = [path for item in items for path in (item.image, item.label) if path is not None]
        known = [(str(path), path.stat()) for path in dict.fromkeys(paths) if path.is_file()]
        files = [[name, status.st_size, status.st_mtime_ns] for name, status in known]
        return digest_of([settings, files])


def _resized(pixels: Pixels, size: WidthHeight, resample: Image.Resampling) -> Pixels:
    """Pillow's resize to (width, height); the array itself when it has that size."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, resample))


def _bad_file(item: Item, error: DataError) -> BadFile:
    """The file that an error names first, and the rest of its message."""
    for path in (item.label, item.image):
        if path is not None and str(error).startswith(f"{path}: "):
            return BadFile(str(path), str(error).removeprefix(f"{path}: "))
    return BadFile(str(item.image), str(error))
