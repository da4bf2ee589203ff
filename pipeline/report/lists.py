"""The image lists of an experiment for its report: those its stages share, and those that one of them cut or chose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import MANIFEST, ArtifactFolder
from pipeline.artifacts.program import program
from pipeline.plan.records import NamedStage, RunRecord
from pipeline.report.model import ListRecord
from pipeline.stages.record import StageRecord
from pipeline.stages.results import Results

Facts = Mapping[str, Any]


def used_lists(
    results: Results, runs: Sequence[tuple[RunRecord, Mapping[str, ArtifactFolder]]]
) -> tuple[ListRecord, ...]:
    """The lists that the stages share, then those of single stages, each with the seeds that used it.

    A run is its record and its `prepare` artifacts by what for. ArtifactError names a damaged one of these.
    """
    for path in dict.fromkeys(folder.path for _, data in runs for folder in data.values()):
        ArtifactFolder(path).load()
    seeds: dict[ListRecord, list[int]] = {}
    for record, data in runs:
        for row in _lists_of_run(results, record, data):
            seeds.setdefault(row, []).append(record.seed)
    # Lists that the seeds drew differently stand under each other.
    places = list(dict.fromkeys((row.stage, row.role) for row in seeds))
    rows = sorted(seeds, key=lambda row: places.index((row.stage, row.role)))
    return tuple(replace(row, seeds=tuple(seeds[row])) for row in rows)


def _lists_of_run(
    results: Results, record: RunRecord, data: Mapping[str, ArtifactFolder]
) -> Iterator[ListRecord]:
    for role, folder in data.items():
        facts = _summary(folder)
        yield ListRecord(role, _name(results, [folder]), facts["images"], facts["names_sha256"])
    for stage in record.stages:
        if stage.kind == "pseudolabel":
            yield from _list_of_labels(results, stage)
        elif stage.kind == "train":
            yield from _lists_of_training(results, stage, data)


def _list_of_labels(results: Results, stage: NamedStage) -> Iterator[ListRecord]:
    """The images that were labelled, if these are not all of their cache's."""
    facts = _summary(results.folder(stage))
    caches = list(_caches(results, results.record(stage.key), "images").values())
    if facts["images"] != _whole(caches):
        yield _row(results, stage.name, "pseudo-labels", facts, caches)


def _lists_of_training(
    results: Results, stage: NamedStage, data: Mapping[str, ArtifactFolder]
) -> Iterator[ListRecord]:
    """The domains of a training that are not the whole of the caches listed for their role."""
    folder = results.folder(stage)
    noted = _summary(folder).get("lists")
    if noted is None:
        raise ArtifactError(
            f"{folder.path} does not say which images it used: an old version made it; remove it with "
            f"`{program()} clean {stage.key}` and start the run again"
        )
    planned = results.record(stage.key)
    for name, facts in noted.items():
        folders = _caches(results, planned, name)
        caches = list(folders.values())
        listed = all(data[role].path == cache.path for role, cache in folders.items())
        # A domain's names are among its caches', so as many of them are all of them.
        if not listed or facts["images"] != _whole(caches):
            yield _row(results, stage.name, name, facts, caches)


def _caches(results: Results, planned: StageRecord, domain: str) -> dict[str, ArtifactFolder]:
    """The `prepare` artifacts of a domain by role."""
    return {role: results.folder(planned.parents[role]) for role in planned.domains[domain].caches}


def _whole(caches: Sequence[ArtifactFolder]) -> int:
    return sum(_summary(cache)["images"] for cache in caches)


def _row(
    results: Results, stage: str, role: str, facts: Facts, caches: Sequence[ArtifactFolder]
) -> ListRecord:
    name = _name(results, caches)
    return ListRecord(role, name, facts["images"], facts["names_sha256"], stage, _whole(caches))


def _name(results: Results, caches: Sequence[ArtifactFolder]) -> str:
    """Datasets and splits as the configuration calls them now."""
    data = [results.record(cache.path.name).data for cache in caches]
    return " + ".join(f"{one.dataset.name} {one.split}" for one in data if one is not None)


def _summary(folder: ArtifactFolder) -> Facts:
    summary: Facts = read_json(folder.path / MANIFEST)["summary"]
    return summary
