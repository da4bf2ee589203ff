"""The image lists of an experiment for its report: those its stages share, and those that one of them cut or chose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import MANIFEST, ArtifactFolder
from pipeline.report.model import ListRecord

Record = Mapping[str, Any]


def used_lists(
    results: Path, runs: Sequence[tuple[Record, Mapping[str, ArtifactFolder]]]
) -> tuple[ListRecord, ...]:
    """The lists that the stages share, then those of single stages, each with the seeds that used it.

    A run is its record and its `prepare` artifacts by what for. ArtifactError names a damaged one of these.
    """
    for path in dict.fromkeys(folder.path for _, data in runs for folder in data.values()):
        ArtifactFolder(path).load()
    seeds: dict[ListRecord, list[int]] = {}
    for record, data in runs:
        for row in _lists_of_run(results, record, data):
            seeds.setdefault(row, []).append(record["seed"])
    # Lists that the seeds drew differently stand under each other.
    places = list(dict.fromkeys((row.stage, row.role) for row in seeds))
    rows = sorted(seeds, key=lambda row: places.index((row.stage, row.role)))
    return tuple(replace(row, seeds=tuple(seeds[row])) for row in rows)


def _lists_of_run(results: Path, record: Record, data: Mapping[str, ArtifactFolder]) -> Iterator[ListRecord]:
    for role, folder in data.items():
        facts = _summary(folder)
        yield ListRecord(role, _name([facts]), facts["images"], facts["names_sha256"])
    for stage in record["stages"]:
        if stage["kind"] == "pseudolabel":
            yield from _list_of_labels(results, stage)
        elif stage["kind"] == "train":
            yield from _lists_of_training(results, stage, data)


def _list_of_labels(results: Path, stage: Record) -> Iterator[ListRecord]:
    """The images that were labelled, if these are not all of their cache's."""
    facts = _summary(_folder(results, stage))
    images = _summary(_folder(results, _parents(results, stage)["images"]))
    if facts["images"] != images["images"]:
        yield _row(stage["name"], "pseudo-labels", facts, [images])


def _lists_of_training(
    results: Path, stage: Record, data: Mapping[str, ArtifactFolder]
) -> Iterator[ListRecord]:
    """The domains of a training that are not the whole of the caches listed for their role."""
    parents = _parents(results, stage)
    manifest = _manifest(_folder(results, stage))
    noted = manifest["summary"].get("lists")
    if noted is None:
        noted = _older_lists(results, manifest, parents)
    for role, facts in noted.items():
        names = [name for name in parents if name == role or name.startswith(f"{role}.")]
        folders = [_folder(results, parents[name]) for name in names]
        caches = [_summary(folder) for folder in folders]
        listed = all(data[name].path == folder.path for name, folder in zip(names, folders, strict=True))
        # A domain's names are among its caches', so as many of them are all of them.
        if not listed or facts.get("images") != sum(cache["images"] for cache in caches):
            yield _row(stage["name"], role, facts, caches)


def _older_lists(results: Path, manifest: Record, parents: Record) -> dict[str, Record]:
    """What is known of the cut domains of a training that noted no lists; its other domains are whole."""
    found: dict[str, Record] = {}
    for name, parent in parents.items():
        if name.endswith("_part"):
            found[name.removesuffix("_part")] = {}
        elif name.endswith("_labels"):
            found[name.removesuffix("_labels")] = _summary(_folder(results, parent))
    if manifest["parameters"]["objective"].get("source_portion", 1.0) < 1.0:
        found["source"] = {}
    return found


def _row(stage: str, role: str, facts: Record, caches: Sequence[Record]) -> ListRecord:
    whole = sum(cache["images"] for cache in caches)
    return ListRecord(role, _name(caches), facts.get("images"), facts.get("names_sha256"), stage, whole)


def _name(caches: Sequence[Record]) -> str:
    return " + ".join(f"{cache['dataset']} {cache['split']}" for cache in caches)


def _folder(results: Path, parent: Record) -> ArtifactFolder:
    return ArtifactFolder(results / parent["rule"] / parent["key"])


def _parents(results: Path, stage: Record) -> Record:
    parents: Record = read_json(results / "stages" / f"{stage['key']}.json")["parents"]
    return parents


def _manifest(folder: ArtifactFolder) -> Record:
    manifest: Record = read_json(folder.path / MANIFEST)
    return manifest


def _summary(folder: ArtifactFolder) -> Record:
    summary: Record = _manifest(folder)["summary"]
    return summary
