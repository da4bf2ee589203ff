"""Listing of the digits datasets: one file holds all images, as torchvision.datasets reads it.

Items are numbered in the order of the file and named by the number, `00042`.
"""

import bz2
import functools
import struct
from pathlib import Path

from pipeline.artifacts.errors import DataError
from pipeline.datasets.folders import read_list
from pipeline.datasets.items import BadFile, Item, Listing
from pipeline.datasets.spec import DatasetSpec

ARCHIVE_FILES = {
    ("mnist", "train"): ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte"),
    ("mnist", "test"): ("MNIST/raw/t10k-images-idx3-ubyte", "MNIST/raw/t10k-labels-idx1-ubyte"),
    ("usps", "train"): ("usps.bz2",),
    ("usps", "test"): ("usps.t.bz2",),
    ("svhn", "train"): ("train_32x32.mat",),
    ("svhn", "test"): ("test_32x32.mat",),
}
"""Files below the root by (format, part), under the names that torchvision.datasets expects; images first."""


def list_archive(spec: DatasetSpec, split: str) -> Listing:
    """List a split of a digits dataset, whose labels are numbers beside the images."""
    root = spec.resolved_root()
    paths = ARCHIVE_FILES[spec.format, spec.split(split).part or "train"]
    for path in paths:
        if not (root / path).is_file():
            raise DataError(f"{spec.location}: {root / path} is missing. {spec.where}".strip())
    count = count_images(root / paths[0], spec.format)
    numbers = {f"{number:05d}": number for number in range(count)}
    problems: list[BadFile] = []
    if spec.split(split).list_file:
        numbers, problems = read_list(spec, split, numbers)
    items = (Item(name, root / paths[0], None, index) for name, index in numbers.items())
    kept = tuple(item for item in items if item.name not in spec.skip)
    files = tuple((path, (root / path).stat().st_size) for path in paths)
    return Listing(split, False, kept, files, tuple(problems))


def count_images(path: Path, kind: str) -> int:
    """Number of images in an archive, from its header (mnist, svhn) or its lines (usps)."""
    try:
        return _count(path, path.stat().st_mtime_ns, kind)
    except (OSError, ValueError, EOFError, struct.error) as error:
        raise DataError(f"{path}: not a whole {kind} file ({error}); get it again") from error


@functools.lru_cache(maxsize=16)
def _count(path: Path, modified: int, kind: str) -> int:
    if kind == "mnist":
        with path.open("rb") as file:
            magic, count = struct.unpack(">ii", file.read(8))
        if magic != 0x803:
            raise ValueError(f"magic number {magic:#x}, needs 0x803: an unpacked IDX file of images")
        return int(count)
    if kind == "usps":
        with bz2.open(path) as file:
            return sum(1 for line in file if line.strip())
    import scipy.io  # planning imports this module, and only SVHN needs scipy

    shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
    return int(shapes["X"][-1]) if "X" in shapes else _no_images(shapes)


def _no_images(shapes: dict[str, tuple[int, ...]]) -> int:
    raise ValueError(f"it has no array X, only {', '.join(shapes) or 'nothing'}")
