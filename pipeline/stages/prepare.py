"""`prepare`: decode, check and resize every file of a split once into a uint8 cache."""

from typing import Any

from pipeline.artifacts.control import Control
from pipeline.artifacts.cores import shared_cores
from pipeline.artifacts.files import write_bytes, write_json
from pipeline.data.cache import Cache
from pipeline.data.domain import list_facts
from pipeline.datasets.class_colors import class_colors
from pipeline.datasets.contents import CONTENTS, Contents, hashes_of, source_files, stamps_of
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.items import Listing
from pipeline.datasets.listing import list_split
from pipeline.datasets.preparation import prepare
from pipeline.datasets.preview import LOOKED_AT, cache_preview, file_sizes
from pipeline.datasets.taxonomy import palette_of
from pipeline.inference.overlays import jpeg
from pipeline.inference.sheets import preview_sheet
from pipeline.numerics.spacing import evenly_spaced
from pipeline.stages.base import Job
from pipeline.stages.parameters import PrepareParameters
from pipeline.stages.progress import Progress
from pipeline.stages.record import PlannedData

PREVIEW, SHEET = "preview.json", "preview.jpg"
"""In `run/`, in no digest: what is in the split, and its labels over some images."""


def _data(job: Job[PrepareParameters]) -> PlannedData:
    data = job.record.data
    assert data is not None
    return data


def file_times(job: Job[PrepareParameters]) -> list[tuple[str, int]]:
    """Path and modification time of every file the stage reads: whether a repaired file ends a repeated failure."""
    data, parameters = _data(job), job.parameters
    listing = list_split(data.dataset, data.split, parameters.labels != "none", parameters.names)
    paths = [path for item in listing.items for path in (item.image, item.label) if path is not None]
    return [(str(path), path.stat().st_mtime_ns) for path in paths if path.is_file()]


def _show(job: Job[PrepareParameters], listing: Listing) -> None:
    """Write beside the artifact what people should see of it, and log what is likely to spoil a training."""
    data, cache = _data(job), Cache(job.out)
    classes = job.taxonomy.names if job.parameters.labels != "none" else ()
    looked_at = evenly_spaced(listing.items, LOOKED_AT)
    sizes = file_sizes(data.dataset, looked_at)
    preview = cache_preview(f"{data.dataset.name} {data.split}", cache, classes, sizes)
    palette = palette_of(class_colors(classes))
    write_json(job.folder.run / PREVIEW, preview.as_json())
    write_bytes(job.folder.run / SHEET, jpeg(preview_sheet(preview, palette)))
    for line in preview.warnings():
        job.log.warning("%s: %s", preview.title, line)


def compute(job: Job[PrepareParameters]) -> dict[str, Any]:
    """Write the cache and its statistics, and beside them what the files held."""
    data, parameters = _data(job), job.parameters
    listing = list_split(data.dataset, data.split, parameters.labels != "none", parameters.names)
    files = source_files(data.dataset, listing)
    stamps, workers = stamps_of(files), job.settings.threads or shared_cores()
    summary = prepare(
        CacheContent(
            data.dataset,
            data.split,
            job.taxonomy if parameters.labels != "none" else None,
            parameters.size,
            parameters.labels,
            parameters.resample,
            parameters.names,
        ),
        job.folder,
        workers,
        Control(job.stop, Progress(job, "prepare")),
        job.log.warning,
    )
    hashes = hashes_of(files.values(), workers, job.stop)
    Contents.noted(stamps, files, hashes).write(job.folder.run / CONTENTS)
    names = Cache(job.out).names
    _show(job, listing)
    facts = {"dataset": data.dataset.name, "split": data.split, **list_facts(names)}
    return {**summary, **facts}
