"""Datasets by their file: what a split contains, and the digest that identifies it; free of torch.

Nothing is opened here but `list` files. Where labels are not asked for, their folder is not even looked into.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import digest_of
from pipeline.datasets.archives import list_archive
from pipeline.datasets.folders import list_folder
from pipeline.datasets.items import BadFile, Item, Listing
from pipeline.datasets.spec import DatasetSpec, SplitSpec

__all__ = ["BadFile", "DatasetSpec", "Item", "Listing", "SplitSpec", "identity", "list_split"]


def list_split(
    spec: DatasetSpec, split: str, with_labels: bool, names: Sequence[str] | None = None
) -> Listing:
    """List a split's items, sorted by name, or in the order of its `list` file, or only `names`, in order.

    With `names`, no other label is looked at. Images without a label, labels without an image and doubtful
    names become `problems`, which `prepare` reports together. DataError when the folder is absent, nothing
    matches, a name is unknown, or labels are asked for and the split has none.
    """
    if with_labels and not spec.split(split).has_labels:
        raise DataError(
            f"{spec.location}: split {split} has no `labels`, and they are needed here;"
            " add the pattern of the label files or choose another split"
        )
    if spec.format == "files":
        return list_folder(spec, split, with_labels, names)
    listing = _list_streets(spec, split) if spec.format == "streets" else list_archive(spec, split)
    listing = replace(listing, with_labels=with_labels)
    return listing if names is None else listing.chosen(names, spec.location)


def _list_streets(spec: DatasetSpec, split: str) -> Listing:
    numbers = range(spec.split(split).count or 0)
    items = (Item(f"{split}_{number:05d}", Path(), None, number) for number in numbers)
    return Listing(split, False, tuple(item for item in items if item.name not in spec.skip), ())


def identity(spec: DatasetSpec, listing: Listing) -> str:
    """Digest of what the listed data is: the dataset file without root and texts, names, files and sizes.

    Of the dataset file only what touches this split counts; what labels mean, only where they are listed.
    """
    described = spec.model_dump(mode="json", include={"format", "domain", "seed", "size"})
    described["split"] = spec.split(listing.split).model_dump(mode="json", exclude={"list_file", "labels"})
    if listing.with_labels:
        meaning = {"labels_as", "ids", "colors", "ignore_mask"}
        described["labels"] = spec.model_dump(mode="json", include=meaning)
        if spec.unnamed != "error":
            described["labels"]["unnamed"] = spec.unnamed
        described["labels"]["pattern"] = spec.split(listing.split).labels
    if spec.format == "streets":
        described["name"] = listing.split  # the generator draws other scenes for another split
    return digest_of({**described, "names": listing.names, "files": sorted(listing.files)})
