"""What one side of a task holds, before anything is trained on it: pictures, classes, sizes, and what to worry about.

`split_preview` looks at the files themselves, `cache_preview` at what `prepare` made of them.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.cache import Cache
from pipeline.datasets.conversion import CacheContent, Converter, ShardResult
from pipeline.datasets.headers import picture_size
from pipeline.datasets.items import Item
from pipeline.datasets.listing import list_split
from pipeline.datasets.sizes import common_size, describe_orientations
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.still_regions import GRID, StillRegion, on_grid, still_in_images, still_in_labels
from pipeline.numerics import IGNORE, WidthHeight
from pipeline.numerics.spacing import evenly_spaced

UInt8 = NDArray[np.uint8]

LOOKED_AT = 200
"""Images at most, evenly spaced: enough for shares of pixels and for what keeps still."""
SHOWN = 12
RARE = 0.001
"""Share of the pixels below which a class is hardly learned."""
_VERY_DIFFERENT = 2.0
_SMALLEST_SIDE = 64
"""Smaller pictures are digits and the like, whose edges keep still for good reason."""


@dataclass(frozen=True)
class Sample:
    """An image (H, W, 3) uint8 and its class ids (h, w) uint8, None without labels."""

    name: str
    image: UInt8
    label: UInt8 | None = None


@dataclass(frozen=True)
class Preview:
    """What was seen of one side.

    `images`: in the split; `looked_at`: of them. `sizes`: how many have which own (width, height). `pixels`, `present`:
    pixels of each class, and images that hold it; None without labels. `ignored`: share of all labelled pixels.
    """

    title: str
    images: int
    looked_at: int
    sizes: Mapping[WidthHeight, int]
    classes: tuple[str, ...]
    pixels: tuple[int, ...] | None
    present: tuple[int, ...] | None
    ignored: float
    samples: tuple[Sample, ...]
    still: StillRegion | None

    def share(self, class_id: int) -> float:
        """Share of the pixels that have a class; 0 without labels."""
        return 0.0 if self.pixels is None else self.pixels[class_id] / max(1, sum(self.pixels))

    def as_json(self) -> dict[str, Any]:
        """All but the samples as plain data, from which `of_json` makes it again, and the warnings."""
        still = self.still and {
            "mask": base64.b64encode(np.packbits(self.still.mask).tobytes()).decode(),
            "class_id": self.still.class_id,
        }
        plain = ("title", "images", "looked_at", "classes", "pixels", "present", "ignored")
        sizes = [[*size, count] for size, count in sorted(self.sizes.items())]
        facts = {name: getattr(self, name) for name in plain}
        return {**facts, "sizes": sizes, "still": still, "warnings": self.warnings()}

    @classmethod
    def of_json(cls, facts: Mapping[str, Any], samples: Sequence[Sample]) -> "Preview":
        """The preview that `as_json` described, with these samples."""
        still = facts["still"]
        if still:
            bits = np.frombuffer(base64.b64decode(still["mask"]), dtype=np.uint8)
            still = StillRegion(np.unpackbits(bits).reshape(GRID).astype(bool), still["class_id"])
        lists: dict[str, Any] = {
            name: facts[name] and tuple(facts[name]) for name in ("classes", "pixels", "present")
        }
        plain: dict[str, Any] = {name: facts[name] for name in ("title", "images", "looked_at", "ignored")}
        sizes = {(width, height): count for width, height, count in facts["sizes"]}
        return cls(**plain, **lists, sizes=sizes, samples=tuple(samples), still=still)

    def warnings(self) -> list[str]:
        """What is likely to spoil a training, in words; none where all is well."""
        found = [] if self.pixels is None else self._about_classes(self.pixels)
        if self.ignored >= 0.5:
            found.append(
                f"{self.ignored:.0%} of the pixels are ignored: is a value missing in the dataset file?"
            )
        if self.still is not None:
            found.append(self._about_still(self.still))
        if self.sizes and (mixed := describe_orientations(self.sizes)):
            found.append(mixed)
        return found

    def _about_still(self, still: StillRegion) -> str:
        where = f"a region of {still.share:.1%} of the picture"
        if still.class_id is None:
            return f"{where} is the same in nearly every image: a frame, or the car's own hood?"
        return (
            f"{where} is `{self.classes[still.class_id]}` in nearly every image, as the car's own hood is: a picture of "
            "it under `ignore_mask` in the dataset file takes it out of training"
        )

    def _about_classes(self, pixels: Sequence[int]) -> list[str]:
        shares = {name: self.share(place) for place, name in enumerate(self.classes)}
        absent = [name for name, count in zip(self.classes, pixels, strict=True) if not count]
        rare = [f"{name} ({share:.3%})" for name, share in shares.items() if 0 < share < RARE]
        seen = "any image" if self.looked_at == self.images else f"the {self.looked_at} images looked at"
        found = [f"no pixel in {seen} of: {', '.join(absent)}"] if absent else []
        if rare:
            found.append(f"less than {RARE:.1%} of the pixels, hard to learn: {', '.join(rare)}")
        return found


def preview_of(
    title: str,
    samples: Iterable[Sample],
    images: int,
    sizes: Sequence[WidthHeight],
    classes: Sequence[str],
    looked_at: int = LOOKED_AT,
) -> Preview:
    """Look at the samples of a split of so many images, at most 12 of which are kept; `sizes`: of their files."""
    seen, grids, maps, kept = _Counts(), [], [], []
    wanted = set(evenly_spaced(range(min(images, looked_at)), SHOWN))
    for place, sample in enumerate(samples):
        seen.add(sample.label)
        if min(sample.image.shape[:2]) >= _SMALLEST_SIDE:
            grids.append(on_grid(sample.image))
            maps += [on_grid(sample.label)] if sample.label is not None else []
        if place in wanted:
            kept.append(sample)
    labelled = seen.labels > 0
    return Preview(
        title,
        images,
        min(images, looked_at),
        Counter(sizes),
        tuple(classes),
        tuple(seen.pixels[: len(classes)].tolist()) if labelled else None,
        tuple(seen.present[: len(classes)].tolist()) if labelled else None,
        float(seen.pixels[IGNORE] / max(1, seen.pixels.sum())),
        tuple(kept),
        still_in_labels(maps) if maps else still_in_images(grids),
    )


def split_preview(title: str, content: CacheContent, looked_at: int = LOOKED_AT) -> Preview:
    """Look at the files of a split, at most so many; DataError names one that cannot be used."""
    listing = list_split(content.spec, content.split, content.labels != "none", content.names)
    items = evenly_spaced(listing.items, looked_at)
    converter, result = Converter(content, ()), ShardResult(0)
    samples = (Sample(item.name, *converter.pair(item, result)) for item in items)
    classes = content.taxonomy.names if content.taxonomy else ()
    sizes = file_sizes(content.spec, items)
    return preview_of(title, samples, len(listing.items), sizes, classes, looked_at)


def cache_preview(
    title: str, cache: Cache, classes: Sequence[str], sizes: Sequence[WidthHeight], looked_at: int = LOOKED_AT
) -> Preview:
    """Look at a prepared split; classes are counted in all of its labels. `sizes`: of the images' own files."""
    places = evenly_spaced(range(len(cache)), looked_at)
    found = preview_of(title, samples_of(cache, places), len(cache), sizes, classes, looked_at)
    known = cache.statistics
    if "class_pixels" not in known:
        return found
    pixels, ignored = known["class_pixels"], known["ignored_pixels"]
    share = ignored / max(1, ignored + sum(pixels))
    present = tuple(known["class_images"])
    return replace(found, looked_at=len(cache), pixels=tuple(pixels), present=present, ignored=share)


def samples_of(cache: Cache, places: Iterable[int]) -> Iterator[Sample]:
    """The images at these places of a prepared split, with their labels."""
    for place in places:
        label = None if cache.labels is None else np.asarray(cache.labels[place])
        yield Sample(cache.names[place], np.asarray(cache.images[place]), label)


def file_sizes(spec: DatasetSpec, items: Sequence[Item]) -> list[WidthHeight]:
    """The own (width, height) of images; none where images are no files."""
    return [picture_size(item.image) for item in items] if spec.format == "files" else []


class _Counts:
    """Pixels and images by class id."""

    def __init__(self) -> None:
        self.labels = 0
        self.pixels = np.zeros(IGNORE + 1, dtype=np.int64)
        self.present = np.zeros(IGNORE + 1, dtype=np.int64)

    def add(self, label: UInt8 | None) -> None:
        if label is not None:
            counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
            self.labels += 1
            self.pixels += counts
            self.present += counts > 0


def size_warning(source: WidthHeight, target: WidthHeight) -> str | None:
    """What is wrong with working sizes (width, height) at which objects differ much in size; None when all is well."""
    ratio = min(target) / min(source)
    if 1 / _VERY_DIFFERENT < ratio < _VERY_DIFFERENT:
        return None
    return (
        f"source images are worked on at {source[0]}x{source[1]}, target images at {target[0]}x{target[1]}: objects "
        "differ much in size; give both sides in the task sizes with about the same shorter side"
    )


def working_size(size: WidthHeight | None, preview: Preview) -> WidthHeight | None:
    """The size that images are worked on at; None where it is not known."""
    return size or (common_size(preview.sizes) if preview.sizes else None)
