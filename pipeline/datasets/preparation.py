"""Making a cache: every file of a split is decoded, checked and resized once, and every fault is reported.

Images are resized with Pillow (bicubic or bilinear, antialiased), as in the papers. Labels are mapped to
class ids by one lookup of 256 entries and resized by Pillow's nearest rule, which commutes with the lookup.
The cache holds uint8; normalisation happens on the device.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.artifacts.control import ALONE, Control
from pipeline.artifacts.errors import DataError, Interrupted
from pipeline.artifacts.files import write_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.data.records import RECORDS_PER_SHARD, RecordWriter
from pipeline.datasets.checks import LabelMode, check_plausible, check_space
from pipeline.datasets.conversion import CacheContent, Converter, ShardResult
from pipeline.datasets.items import Item
from pipeline.datasets.listing import list_split
from pipeline.datasets.reports import report_bad_files, report_far_pixels
from pipeline.datasets.shard_pool import run_shards
from pipeline.datasets.taxonomy import IGNORE, Taxonomy

ARCHIVES = ("mnist", "usps", "svhn")
DIGITS_PER_SHARD = 4096


def prepare(
    content: CacheContent,
    artifact: ArtifactFolder,
    workers: int = 1,
    control: Control = ALONE,
    warn: Callable[[str], None] = lambda line: None,
    shard_images: int | None = None,
) -> dict[str, Any]:
    """Write a cache into `artifact`, not published, and return its summary (counts, sizes, content digests).

    `shard_images` is part of the format, not a setting. `control` is asked between shards, and ends the work by
    Interrupted; it counts images. `warn` gets a line for files that were left out and for labels whose pixels are
    far from all that is named (all of them in `far-pixels.csv`). DataError lists every bad file (all of them in
    `bad-files.csv`), and then the cache's folder gets nothing.
    """
    spec, split, labels = content.spec, content.split, content.labels
    listing = list_split(spec, split, labels != "none", content.names)
    for line in listing.omissions:
        warn(f"{spec.location}: split {split}: {line}")
    if not listing.items and not listing.problems:
        raise DataError(f"{spec.location}: split {split} has no images; every one is under `skip`")
    check_plausible(spec, listing)
    check_space(spec, listing, content.size, labels, artifact.path)
    per_shard = shard_images or (DIGITS_PER_SHARD if spec.format in ARCHIVES else RECORDS_PER_SHARD)
    writers = [
        RecordWriter(artifact.path, kind, artifact.state, listing.names, per_shard) for kind in _kinds(labels)
    ]
    shards = [(shard, _shard_of(listing.items, shard, per_shard)) for shard in writers[0].shards()]
    results = _convert(Converter(content, writers), shards, len(listing.items), workers, control)
    bad = [*listing.problems, *(file for result in results for file in result.bad)]
    report_bad_files(spec, split, bad, artifact.run / "bad-files.csv")
    report_far_pixels(results, artifact.run / "far-pixels.csv", warn)
    contents = {writer.prefix: writer.finish() for writer in writers}
    statistics = _statistics(results, content.taxonomy, labels)
    write_json(artifact.path / "statistics.json", statistics)
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
    control: Control,
) -> list[ShardResult]:
    """Results of all shards in order; those found whole in the state are not made again."""
    results = {
        shard: found for shard, items in shards if (found := converter.finished(shard, items)) is not None
    }
    done = sum(len(items) for shard, items in shards if shard in results)
    control.progress(done, total)
    waiting = [(shard, items) for shard, items in shards if shard not in results]
    for result in run_shards(converter, waiting, workers, control.stop):
        results[result.shard] = result
        done += len(shards[result.shard][1])
        control.progress(done, total)
    if len(results) < len(shards):
        raise Interrupted(f"{done} of {total} images are prepared: {control.stop()}")
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
