"""`experiment`: the folder for people: links to the stages in order, the figures, and the model to take away."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, write_json
from pipeline.networks.records import copy_network, read_record
from pipeline.plan.records import RunRecord
from pipeline.report.guard import taken, warn_of_swap
from pipeline.stages.results import Results
from pipeline.stages.snapshots import snapshot_path, snapshot_steps


def publish(results: Results, record: RunRecord, log: logging.Logger) -> None:
    """Write links, `model/`, and `metrics.json` (last: it is the rule's output)."""
    folder = results.run_folder(record.experiment, record.seed)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = collect_metrics(results, record)
    link_stages(folder, results, record)
    _copy_model(folder / "model", results, record, metrics)
    write_json(results.metrics(record.experiment, record.seed), metrics)
    warn_of_swap(metrics["taken"], record, log)
    log.info("finished: %s", folder)


def collect_metrics(results: Results, record: RunRecord) -> dict[str, Any]:
    """The figures of every evaluated training stage of one experiment and seed."""
    stages: dict[str, Any] = {}
    for name, evaluated in record.evaluates.items():
        stages[name] = read_json(results.folder(evaluated).path / "metrics.json")
    for title, further in record.also.items():
        for name, evaluated in further.items():
            last = read_json(results.folder(evaluated).path / "metrics.json")["last"]
            stages.setdefault(name, {}).setdefault("also", {})[title] = last
    for name, selected in record.selects.items():
        summary = results.folder(selected).load()["summary"]
        stages.setdefault(name, {})["label_free_step"] = summary["label_free"]
    return {
        "experiment": record.experiment,
        "seed": record.seed,
        "title": record.title,
        "metric": record.metric,
        "final": record.final,
        "taken": taken(results, record),
        "stages": stages,
        "keys": {stage.name: stage.key for stage in record.stages},
        "artifacts": sorted({artifact.key for artifact in record.artifacts()}),
    }


def link_stages(folder: Path, results: Results, record: RunRecord) -> None:
    """Make the relative links `1-source`, `2-inter`, ...; links of an earlier configuration are replaced."""
    for path in folder.iterdir():
        if path.is_symlink():
            path.unlink()
    for name, stage in zip(link_names(record), record.stages, strict=True):
        (folder / name).symlink_to(os.path.relpath(results.folder(stage).path, folder))


def link_names(record: RunRecord) -> list[str]:
    """`1-source`, `2-inter`, ...: the names of the links to a run's stages, in order."""
    return [f"{number}-{stage.name}" for number, stage in enumerate(record.stages, start=1)]


def _copy_model(folder: Path, results: Results, record: RunRecord, metrics: dict[str, Any]) -> None:
    """Make the self-contained model folder, `model.safetensors` and `model.json`; replaced as a whole."""
    choice = metrics["taken"]
    name = choice["stage"] if choice else record.final
    artifact = results.folder(next(stage for stage in record.stages if stage.name == name))
    manifest = artifact.load()
    step = snapshot_steps(artifact)[-1]
    path = snapshot_path(artifact, step)
    meta = dict(read_record(path).meta)
    meta["provenance"] = {
        "stage": manifest["key"],
        "digest": manifest["digest"],
        "parents": manifest["parents"],
        "experiment": record.experiment,
        "seed": record.seed,
        "step": step,
    }
    meta["taxonomy"] = record.taxonomy.model_dump(mode="json")
    meta["scoring"] = record.scoring.model_dump(mode="json")
    meta["metrics"] = metrics["stages"].get(name, {})
    if choice:
        meta["taken"] = choice
    temporary = folder.with_name(".model-new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    copy_network(path, temporary / "model.safetensors", meta)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
