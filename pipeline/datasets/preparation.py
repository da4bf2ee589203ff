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
from pipeline.datasets.checks import LabelMode, check_plausible, check_space
from pipeline.datasets.conversion import Converter, ShardResult
from pipeline.datasets.items import Item
from pipeline.datasets.listing import list_split
from pipeline.datasets.reports import report_bad_files, report_far_pixels
from pipeline.datasets.shard_pool import run_shards
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE, Taxonomy
from pipeline.numerics import WidthHeight

DIGITS_PER_SHARD = 4096


def prepare(
    spec: DatasetSpec,
    split: str,
    taxonomy: Taxonomy | None,
    *,
    size: WidthHeight | None,
    labels: LabelMode,
    folder: Path,
    state: Path,
    run: Path,
    resample: Literal["bicubic", "bilinear"] = "bicubic",
    workers: int = 1,
    shard_images: int | None = None,
    names: Sequence[str] | None = None,
    stop: Callable[[], Any] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the cache of a split into `folder` and return its summary (counts, sizes, content digests).

    `size` is (width, height) in pixels, None keeps every image's own. `labels`: `none` opens no label file,
    `working` resizes labels with the images, `native` keeps their size; these two need
    `taxonomy`. `names` chooses images, in order.
    Shards in the making lie in `state`; `run` gets `bad-files.csv`. `shard_images` is part of the format, not a
    setting. `stop` is asked between shards and ends the work by Interrupted; `progress(done, total)` counts
    images; `warn` gets a line for files that were left out and for labels whose pixels are far from all that is
    named (all of them in `far-pixels.csv`). DataError lists every bad file, and then `folder` gets nothing.
    """
    listing = list_split(spec, split, labels != "none", names)
    for line in listing.omissions:
        warn(f"{spec.location}: split {split}: {line}")
    if not listing.items and not listing.problems:
        raise DataError(f"{spec.location}: split {split} has no images; every one is under `skip`")
    check_plausible(spec, listing)
    check_space(spec, listing, size, labels, folder)
    per_shard = shard_images or (
        DIGITS_PER_SHARD if spec.format in ("mnist", "usps", "svhn") else RECORDS_PER_SHARD
    )
    writers = [RecordWriter(folder, kind, state, listing.names, per_shard) for kind in _kinds(labels)]
    converter = Converter(spec, split, taxonomy, size, labels, resample, writers)
    shards = [(shard, _shard_of(listing.items, shard, per_shard)) for shard in writers[0].shards()]
    results = _convert(converter, shards, len(listing.items), workers, stop, progress)
    bad = [*listing.problems, *(file for result in results for file in result.bad)]
    report_bad_files(spec, split, bad, run / "bad-files.csv")
    report_far_pixels(results, run / "far-pixels.csv", warn)
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


def _shard_of(items: Sequence[Item], shard: int, per_shard: int) -> Sequence[Item]:
    return items[shard * per_shard : (shard + 1) * per_shard]


def _convert(
    converter: Converter,
    shards: Sequence[tuple[int, Sequence[Item]]],
    total: int,
    workers: int,
    stop: Callable[[], Any],
    progress: Callable[[int, int], None],
) -> list[ShardResult]:
    """Results of all shards in order; those found whole in the state are not made again."""
    results = {
        shard: found for shard, items in shards if (found := converter.finished(shard, items)) is not None
    }
    done = sum(len(items) for shard, items in shards if shard in results)
    progress(done, total)
    waiting = [(shard, items) for shard, items in shards if shard not in results]
    for result in run_shards(converter, waiting, workers, stop):
        results[result.shard] = result
        done += len(shards[result.shard][1])
        progress(done, total)
    if len(results) < len(shards):
        raise Interrupted(f"{done} of {total} images are prepared: {stop()}")
    return [results[shard] for shard, _ in shards]


def _statistics(
    results: Sequence[ShardResult], taxonomy: Taxonomy | None, labels: LabelMode
) -> dict[str, Any]:
    """Sums over the shards: images by size; with labels class pixels and images by class id, and ignored pixels."""
    sizes: Counter[str] = Counter()
    pixels, images = [0] * (IGNORE + 1), [0] * (IGNORE + 1)
    for result in results:
        sizes.update(result.sizes)
        pixels = [a + b for a, b in zip(pixels, result.pixels, strict=True)]
        images = [a + b for a, b in zip(images, result.images, strict=True)]
    described: dict[str, Any] = {"images": sum(sizes.values()), "sizes": dict(sorted(sizes.items()))}
    if taxonomy is not None and labels != "none":
        count = taxonomy.num_classes
        described |= {
            "classes": list(taxonomy.names),
            "class_pixels": pixels[:count],
            "class_images": images[:count],
            "ignored_pixels": pixels[IGNORE],
        }
    return described
