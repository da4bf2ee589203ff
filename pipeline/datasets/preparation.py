"""Making a cache: every file of a split is decoded, checked and resized once, and every fault is reported.

Images are resized with Pillow (bicubic or bilinear, antialiased), as in the papers. Labels are mapped to
class ids by one lookup of 256 entries and resized by Pillow's nearest rule, which commutes with the lookup.
The cache holds uint8; normalisation happens on the device.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.artifacts.errors import DataError, Interrupted
from pipeline.artifacts.files import write_json
from pipeline.data.records import RECORDS_PER_SHARD, RecordWriter
from pipeline.datasets.checks import LabelMode, Size, check_plausible, check_space
from pipeline.datasets.conversion import Converter, PartResult
from pipeline.datasets.items import Item
from pipeline.datasets.listing import list_split
from pipeline.datasets.part_pool import run_parts
from pipeline.datasets.reports import report_bad_files, report_far_pixels
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE, Taxonomy

DIGITS_PER_SHARD = 4096


def prepare(
    spec: DatasetSpec,
    split: str,
    taxonomy: Taxonomy,
    *,
    size: Size | None,
    labels: LabelMode,
    folder: Path,
    state: Path,
    run: Path,
    resample: Literal["bicubic", "bilinear"] = "bicubic",
    workers: int = 1,
    part_images: int | None = None,
    names: Sequence[str] | None = None,
    stop: Callable[[], Any] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the cache of a split into `folder` and return its summary (counts, sizes, content digests).

    `size` is (width, height) in pixels, None keeps every image's own. `labels`: `none` opens no label file,
    `working` resizes labels with the images, `native` keeps their size. `names` chooses images, in order.
    Parts in the making lie in `state`; `run` gets `bad-files.csv`. `part_images` is part of the format, not a
    setting. `stop` is asked between parts and ends the work by Interrupted; `progress(done, total)` counts
    images; `tell` gets a line for files that were left out and for labels whose pixels are far from all that is
    named (all of them in `far-pixels.csv`). DataError lists every bad file, and then `folder` gets nothing.
    """
    listing = list_split(spec, split, labels != "none", names)
    for line in listing.omissions:
        tell(f"{spec.where_it_is}: split {split}: {line}")
    if not listing.items and not listing.problems:
        raise DataError(f"{spec.where_it_is}: split {split} has no images; every one is under `skip`")
    check_plausible(spec, listing)
    check_space(spec, listing, size, labels, folder)
    per_shard = part_images or (
        DIGITS_PER_SHARD if spec.format in ("mnist", "usps", "svhn") else RECORDS_PER_SHARD
    )
    writers = [RecordWriter(folder, kind, state, listing.names, per_shard) for kind in _kinds(labels)]
    converter = Converter(spec, split, taxonomy, size, labels, resample, writers)
    parts = [(part, _part_of(listing.items, part, per_shard)) for part in writers[0].parts()]
    results = _convert(converter, parts, len(listing.items), workers, stop, progress)
    bad = [*listing.problems, *(file for result in results for file in result.bad)]
    report_bad_files(spec, split, bad, run / "bad-files.csv")
    report_far_pixels(results, run / "far-pixels.csv", tell)
    contents = {writer.prefix: writer.finish() for writer in writers}
    statistics = _statistics(results, taxonomy, labels)
    write_json(folder / "statistics.json", statistics)
    return {
        "dataset": spec.name,
        "split": split,
        "images": len(listing.items),
        "labels": labels,
        "sizes": statistics["sizes"],
        "contents": contents,
    }


def _kinds(labels: LabelMode) -> tuple[str, ...]:
    return ("images",) if labels == "none" else ("images", "labels")


def _part_of(items: Sequence[Item], part: int, per_shard: int) -> Sequence[Item]:
    return items[part * per_shard : (part + 1) * per_shard]


def _convert(
    converter: Converter,
    parts: Sequence[tuple[int, Sequence[Item]]],
    total: int,
    workers: int,
    stop: Callable[[], Any],
    progress: Callable[[int, int], None],
) -> list[PartResult]:
    """Results of all parts in order; those found whole in the state are not made again."""
    results = {part: found for part, items in parts if (found := converter.finished(part, items)) is not None}
    done = sum(len(items) for part, items in parts if part in results)
    progress(done, total)
    waiting = [(part, items) for part, items in parts if part not in results]
    for result in run_parts(converter, waiting, workers, stop):
        results[result.part] = result
        done += len(parts[result.part][1])
        progress(done, total)
    if len(results) < len(parts):
        raise Interrupted(f"{done} of {total} images are prepared: {stop()}")
    return [results[part] for part, _ in parts]


def _statistics(results: Sequence[PartResult], taxonomy: Taxonomy, labels: LabelMode) -> dict[str, Any]:
    """Sums over the parts: class pixels and images by class id, ignored pixels, images by size."""
    sizes: Counter[str] = Counter()
    pixels, images = [0] * (IGNORE + 1), [0] * (IGNORE + 1)
    for result in results:
        sizes.update(result.sizes)
        pixels = [a + b for a, b in zip(pixels, result.pixels, strict=True)]
        images = [a + b for a, b in zip(images, result.images, strict=True)]
    count = taxonomy.num_classes
    told: dict[str, Any] = {"images": sum(sizes.values()), "sizes": dict(sorted(sizes.items()))}
    if labels != "none":
        told |= {
            "classes": list(taxonomy.names),
            "class_pixels": pixels[:count],
            "class_images": images[:count],
            "ignored_pixels": pixels[IGNORE],
        }
    return told
