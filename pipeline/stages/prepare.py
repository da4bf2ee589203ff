"""`prepare`: decode, check and resize every file of a split once into a uint8 cache."""

from typing import Any

from pipeline.artifacts.files import write_json
from pipeline.data.domain import list_facts
from pipeline.datasets.listing import list_split
from pipeline.datasets.preparation import prepare
from pipeline.stages.base import StageRun
from pipeline.stages.inputs import DATASET_FILE, Progress, cache_of
from pipeline.stages.parameters import PrepareParameters
from pipeline.stages.record import PlannedData


def _data(run: StageRun[PrepareParameters]) -> PlannedData:
    data = run.record.data
    assert data is not None
    return data


def file_times(run: StageRun[PrepareParameters]) -> list[tuple[str, int]]:
    """Path and modification time of every file the stage reads: whether a repaired file ends a repeated failure."""
    data, parameters = _data(run), run.parameters
    listing = list_split(data.dataset, data.split, parameters.labels != "none", parameters.names)
    paths = [path for item in listing.items for path in (item.image, item.label) if path is not None]
    return [(str(path), path.stat().st_mtime_ns) for path in paths if path.is_file()]


def compute(run: StageRun[PrepareParameters]) -> dict[str, Any]:
    """Write the cache, its statistics, and `dataset.json` (dataset, split, taxonomy, list hash)."""
    data, parameters = _data(run), run.parameters
    summary = prepare(
        data.dataset,
        data.split,
        data.taxonomy,
        size=parameters.size,
        labels=parameters.labels,
        folder=run.out,
        state=run.folder.state,
        run=run.folder.run,
        resample=parameters.resample,
        workers=max(1, run.settings.workers, run.settings.threads),
        names=parameters.names,
        stop=run.stop,
        progress=Progress(run, "prepare"),
        tell=run.log.warning,
    )
    names = cache_of(run.folder).names
    facts = {"dataset": data.dataset.name, "split": data.split, **list_facts(names)}
    write_json(run.out / DATASET_FILE, {**facts, "taxonomy": data.taxonomy.model_dump(mode="json")})
    return {**summary, **facts}
