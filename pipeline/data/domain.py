"""One domain of a training stage: which images, from which caches, with which labels."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import digest_of
from pipeline.data.placement import Pixels, Placement
from pipeline.numerics import WidthHeight

if TYPE_CHECKING:
    from pipeline.data.cache import Cache
    from pipeline.data.records import Records


def list_facts(names: Sequence[str]) -> dict[str, Any]:
    """What a summary notes of a list of images: how many (`images`), and the SHA-256 of their names."""
    return {"images": len(names), "names_sha256": digest_of(list(names))}


class ExtraMap(Protocol):
    """A further map per image that a method reads, such as soft labels from low-resolution logits.

    Called in a loader process with the image's name and where the pixels of its augmented view come from;
    the result must have the same shape for every image of a step. A pure function of its arguments.
    """

    def __call__(self, name: str, placement: Placement) -> NDArray[np.generic]:
        """The map of image `name`, at the pixels that `placement` chose."""
        ...


class Domain:
    """The images of one domain, their labels and further maps; no label is opened without being asked for.

    `names`: only these images, in this order; None: all of all caches. `labels`: "own" takes the caches'
    labels, Records take pseudo-labels by the image's name, None takes none and opens none. `extras`: further
    maps by name. DataError for an unknown name, one that two caches hold, or a label that is not there.
    """

    def __init__(
        self,
        caches: Sequence["Cache"],
        names: Sequence[str] | None = None,
        labels: "Literal['own'] | Records | None" = None,
        extras: Mapping[str, ExtraMap] | None = None,
    ) -> None:
        self.caches, self.extras = tuple(caches), dict(extras or {})
        self._own = isinstance(labels, str)
        self._records = None if labels is None or isinstance(labels, str) else labels
        places = self._all_places()
        self._take(places if names is None else self._chosen_places(names, places))
        self._whole = names is None
        if self._own and any(cache.labels is None for cache in self.caches):
            raise DataError("a cache holds no labels; prepare it with labels or take a domain without them")

    def __len__(self) -> int:
        return len(self._places)

    def restricted(self, names: Sequence[str]) -> Self:
        """This domain with only these of its images, in this order; labels and further maps stay theirs.

        DataError for a name that it does not hold, or that two of its caches do.
        """
        subset = copy(self)
        subset._take(self._chosen_places(names, self._places))
        subset._whole = False
        return subset

    def with_extra(self, name: str, extra: ExtraMap) -> Self:
        """This domain with one more further map."""
        domain = copy(self)
        domain.extras = {**self.extras, name: extra}
        return domain

    @property
    def has_labels(self) -> bool:
        """Whether `label` gives arrays."""
        return self._own or self._records is not None

    def list_facts(self) -> dict[str, Any]:
        """`list_facts` of the images in the order of the caches, whatever a ranking or a draw put them in."""
        held = set(self.names)
        return list_facts([name for cache in self.caches for name in cache.names if name in held])

    def image(self, index: int) -> Pixels:
        """Image `index`: uint8 (H, W, 3), a read-only view."""
        cache, place = self._places[index]
        return self.caches[cache].images[place]

    def label(self, index: int) -> Pixels | None:
        """Label `index`: uint8 (h, w) of class ids, a read-only view; None in a domain without labels."""
        if self._records is not None:
            return self._records[self._label_places[index]]
        if not self._own:
            return None
        cache, place = self._places[index]
        labels = self.caches[cache].labels
        return None if labels is None else labels[place]

    def image_size(self, index: int) -> WidthHeight:
        """Width and height of image `index` as stored."""
        height, width = self.image(index).shape[:2]
        return width, height

    def class_counts(self) -> tuple[int, ...]:
        """Labelled pixels of every class id over all images, from the caches' statistics where these apply.

        For chosen images and pseudo-labels every label is read once.
        """
        if self._own and self._whole:
            known = [cache.statistics["class_pixels"] for cache in self.caches]
            return tuple(sum(column) for column in zip(*known, strict=True))
        counts = np.zeros(256, np.int64)
        for index in range(len(self)):
            label = self.label(index)
            if label is not None:
                counts += np.bincount(label.ravel(), minlength=256)
        return tuple(counts[:255].tolist())

    def _take(self, places: list[tuple[int, int]]) -> None:
        """Make these the domain's images."""
        self._places = places
        self.names = tuple(self.caches[cache].names[place] for cache, place in places)
        self._label_places = self._places_of_labels(self._records) if self._records is not None else []

    def _all_places(self) -> list[tuple[int, int]]:
        return [
            (number, place) for number, cache in enumerate(self.caches) for place in range(len(cache.names))
        ]

    def _chosen_places(self, names: Sequence[str], among: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Where the names lie among these places; a name must lie in exactly one cache."""
        if isinstance(names, str):
            raise TypeError("names must be a sequence of names, not one string")
        places: dict[str, tuple[int, int]] = {}
        twice: set[str] = set()
        for number, place in among:
            name = self.caches[number].names[place]
            if name in places:
                twice.add(name)
            places[name] = (number, place)
        for name in names:
            if name not in places:
                raise DataError(f"this domain holds no image `{name}`; make the list again")
            if name in twice:
                raise DataError(f"two caches of this domain hold an image `{name}`; rename one of the two")
        return [places[name] for name in names]

    def _places_of_labels(self, records: "Records") -> list[int]:
        known = {name: place for place, name in enumerate(records.names)}
        for name in self.names:
            if name not in known:
                raise DataError(f"the pseudo-labels hold none for image `{name}`; make them for these images")
        return [known[name] for name in self.names]
