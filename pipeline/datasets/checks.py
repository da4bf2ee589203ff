"""Checks before a cache is made: is there room for it, and are SYNTHIA's labels what they should be?"""

import shutil
from pathlib import Path
from typing import Literal

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import StorageError, make_folder
from pipeline.datasets.decoding import read_label
from pipeline.datasets.headers import picture_size
from pipeline.datasets.items import Listing
from pipeline.datasets.spec import DatasetSpec
from pipeline.numerics import WidthHeight

LabelMode = Literal["none", "working", "native"]

_SAMPLED_HEADERS = 20
_SYNTHIA_SAMPLE, _SYNTHIA_DISTINCT, _SYNTHIA_ROAD = 100, 5, 3
_NOT_IDS = "these are not SYNTHIA's ids; use the files of GT/LABELS as they were unpacked"


def check_space(
    spec: DatasetSpec, listing: Listing, size: WidthHeight | None, labels: LabelMode, folder: Path
) -> None:
    """StorageError when the cache will not fit, before anything is written."""
    native = _typical_pixels(spec, listing) if size is None or labels == "native" else 0
    working = size[0] * size[1] if size is not None else native
    label_bytes = {"none": 0, "working": working, "native": native}[labels]
    needed = int(1.05 * len(listing.items) * (3 * working + label_bytes))
    make_folder(folder)
    # Parts of an earlier attempt are already written and need no further room.
    present = sum(file.stat().st_size for file in folder.rglob("*.bin"))
    free = shutil.disk_usage(folder).free
    if needed - present > free:
        raise StorageError(
            f"{folder}: the cache of {len(listing.items)} images needs about {needed / 2**30:.1f} GiB and"
            f" {free / 2**30:.1f} GiB are free; make room or choose a smaller `size`"
        )


def _typical_pixels(spec: DatasetSpec, listing: Listing) -> int:
    """Mean pixels of an image, from evenly spaced headers; unreadable files are reported later."""
    if spec.format == "streets":
        return spec.size[0] * spec.size[1]
    if spec.format != "files":
        return 32 * 32
    found = []
    for item in listing.items[:: max(1, len(listing.items) // _SAMPLED_HEADERS)]:
        try:
            width, height = picture_size(item.image)
        except DataError:
            continue
        found.append(width * height)
    return sum(found) // len(found) if found else 0


def check_plausible(spec: DatasetSpec, listing: Listing) -> None:
    """Stop at SYNTHIA labels that are no ids: an 8-bit reading of a 16-bit file is zero without an error."""
    if spec.labels_as != "synthia" or not listing.with_labels:
        return
    sample = listing.items[:_SYNTHIA_SAMPLE]
    seen: set[int] = set()
    without_road = []
    for item in sample:
        assert item.label is not None
        try:
            found = set(read_label(item.label, "synthia").ravel().tolist())
        except DataError:
            continue  # in the report, when the part that it belongs to is converted
        seen |= found
        if _SYNTHIA_ROAD not in found:
            without_road.append(item.label)
    if 2 * len(without_road) >= len(sample) > 0 and without_road:
        raise DataError(
            f"{without_road[0]}: no pixel has SYNTHIA's id {_SYNTHIA_ROAD} (road), as in"
            f" {len(without_road)} of the first {len(sample)} labels; {_NOT_IDS}"
        )
    if sample and seen and len(seen) < _SYNTHIA_DISTINCT:
        raise DataError(
            f"{sample[0].label}: the first {len(sample)} labels hold {len(seen)} ids only; {_NOT_IDS}"
        )
