"""`prepare`: decode, check and resize every file of a split once into a uint8 cache."""

from typing import Any

from pipeline.artifacts.files import digest_of, write_json
from pipeline.datasets.listing import list_split
from pipeline.datasets.preparation import prepare
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.stages.base import StageRun
from pipeline.stages.inputs import DATASET_FILE, Progress, cache_of


def _spec(run: StageRun) -> DatasetSpec:
    return DatasetSpec.model_validate(run.file.record["data"]["dataset"])


def file_times(run: StageRun) -> list[tuple[str, int]]:
    """Path and modification time of every file the stage reads: whether a repaired file ends a repeated failure."""
    with_labels = run.parameters.labels != "none"
    listing = list_split(_spec(run), run.file.record["data"]["split"], with_labels, run.parameters.names)
    paths = [path for item in listing.items for path in (item.image, item.label) if path is not None]
    return [(str(path), path.stat().st_mtime_ns) for path in paths if path.is_file()]


def compute(run: StageRun) -> dict[str, Any]:
    """Write the cache, its statistics, and `dataset.json` (dataset, split, taxonomy, list hash)."""
    data = run.file.record["data"]
    taxonomy = Taxonomy.model_validate(data["taxonomy"])
    parameters = run.parameters
    summary = prepare(
        _spec(run),
        data["split"],
        taxonomy,
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
    names = list(cache_of(run.folder).names)
    facts = {
        "dataset": data["dataset_name"],
        "split": data["split"],
        "images": len(names),
        "names_sha256": digest_of(names),
    }
    write_json(run.out / DATASET_FILE, {**facts, "taxonomy": taxonomy.model_dump(mode="json")})
    return {**summary, **facts}
