"""`experiment`: the folder for people: links to the stages in order, the figures, and the model to take away."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, write_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.networks.files import load_network, save_network
from pipeline.stages.base import StageFile
from pipeline.stages.inputs import snapshot_path, snapshot_steps


def publish(file: StageFile, log: logging.Logger) -> None:
    """Write links, `model/`, and `metrics.json` (last: it is the rule's output)."""
    record = file.record
    folder = file.results / "experiments" / record["experiment"] / f"seed{record['seed']}"
    folder.mkdir(parents=True, exist_ok=True)
    metrics = collect_metrics(file.results, record)
    _link(folder, file.results, record)
    _copy_model(folder / "model", file.results, record, metrics)
    write_json(folder / "metrics.json", metrics)
    log.info("finished: %s", folder)


def _folder(results: Path, parent: dict[str, str]) -> ArtifactFolder:
    return ArtifactFolder(results / parent["rule"] / parent["key"])


def collect_metrics(results: Path, record: Any) -> dict[str, Any]:
    """The figures of every evaluated training stage of one experiment and seed."""
    stages: dict[str, Any] = {}
    for name, parent in record["evaluates"].items():
        stages[name] = read_json(_folder(results, parent).path / "metrics.json")
    for name, parent in record["selects"].items():
        summary = _folder(results, parent).load()["summary"]
        stages.setdefault(name, {})["label_free_step"] = summary["label_free"]
    return {
        "experiment": record["experiment"],
        "seed": record["seed"],
        "title": record["title"],
        "metric": record["metric"],
        "final": record["final"],
        "stages": stages,
        "keys": {stage["name"]: stage["key"] for stage in record["stages"]},
    }


def _link(folder: Path, results: Path, record: Any) -> None:
    """Make the relative links `1-source`, `2-inter`, ...; links of an earlier configuration are replaced."""
    for path in folder.iterdir():
        if path.is_symlink():
            path.unlink()
    for number, stage in enumerate(record["stages"], start=1):
        target = os.path.relpath(results / stage["rule"] / stage["key"], folder)
        (folder / f"{number}-{stage['name']}").symlink_to(target)


def _copy_model(folder: Path, results: Path, record: Any, metrics: dict[str, Any]) -> None:
    """Make the self-contained model folder, `model.safetensors` and `model.json`; replaced as a whole."""
    final = next(stage for stage in record["stages"] if stage["name"] == record["final"])
    artifact = _folder(results, final)
    manifest = artifact.load()
    step = snapshot_steps(artifact)[-1]
    network, meta = load_network(snapshot_path(artifact, step))
    meta["provenance"] = {
        "stage": manifest["key"],
        "digest": manifest["digest"],
        "parents": manifest["parents"],
        "experiment": record["experiment"],
        "seed": record["seed"],
        "step": step,
    }
    meta["metrics"] = metrics["stages"].get(record["final"], {})
    temporary = folder.with_name(".model-new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_network(temporary / "model.safetensors", network, meta)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
