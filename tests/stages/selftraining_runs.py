"""A tiny `streets` configuration with the shipped recipes, and stages that tests run, stop and kill."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts.errors import Interrupted
from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import PlannedRun, Planner
from pipeline.plan.stage import Stage, in_order
from pipeline.stages.base import Job, StageFile
from pipeline.stages.runner import _header
from pipeline.training.parameters import RunSettings

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = [48, 32]
TINY = {
    "train": {"snapshots": 1, "batch": 2, "optimiser": {"kind": "adamw", "lr": 0.002, "head_lr_mult": 1.0}},
    "source": {"steps": 12},
}


def write_config(folder: Path, images: int = 5, source_images: int = 4) -> Path:
    """The shipped recipes, networks and taxonomies beside tiny datasets; returns the `config` folder."""
    root = folder / "config"
    for name in ("recipes", "networks", "taxonomies"):
        shutil.copytree(REPOSITORY / "config" / name, root / name)
    for domain, count in (("rendered", source_images), ("camera", images)):
        spec = yaml.safe_load((REPOSITORY / f"config/datasets/streets-{domain}.yaml").read_text("utf-8"))
        spec["splits"] = {"train": {"count": count}}
        _write(root / "datasets" / f"streets-{domain}.yaml", spec)
    task = {
        "taxonomy": "camvid11",
        "source": {"dataset": "streets-rendered", "split": "train", "size": SIZE},
        "target": {"dataset": "streets-camera", "split": "train", "size": SIZE},
    }
    _write(root / "tasks" / "tiny.yaml", task)
    return root


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")  # JSON is YAML, and has no aliases


def plan(
    root: Path,
    recipe: str,
    set_: Mapping[str, Any] | None = None,
    results: Path | None = None,
    **experiment: Any,
) -> PlannedRun:
    """Plan one experiment on the tiny task, and write its stage files where `results` is given."""
    values = {name: dict(entry) for name, entry in TINY.items()} | {"round": {"steps": 3}}
    if recipe.startswith(("advent", "intrada")):
        values |= {"inter": {"steps": 3}}
    if recipe.startswith("intrada"):
        values |= {"intra": {"steps": 3}}
    if recipe in ("intrada", "unlabelled"):
        del values["round"]
    for name, entry in (set_ or {}).items():
        values[name] = values.get(name, {}) | entry
    body = {"task": "tiny", "recipe": recipe, "network": "small", "seeds": [0], "set": values, **experiment}
    _write(root / "tiny.yaml", {"experiments": {"tiny": body}})
    run_settings = {"device": "cpu", "threads": 1, "workers": 0}
    _write(root / "config.yaml", {"suite": "tiny", "run": run_settings})
    config = load_config(root=root)
    runs = Planner(config).plan()
    if results is not None:
        write_stage_files(config, runs, results)
    return runs[0]


def make_run(
    results: Path, stage: Stage, stop: Callable[[], str | None] = lambda: None, **settings: Any
) -> Job:
    """A stage as the runner makes it, with a stop that a test controls."""
    file = StageFile.read(results / "stages" / f"{stage.key}.json")
    wanted = RunSettings.model_validate({"device": "cpu", "threads": 1, "workers": 0, **settings})
    return Job(file, wanted, logging.getLogger("test"), stop)


def finish(run: Job) -> dict[str, Any]:
    """Compute and publish a stage that is not finished; returns its manifest."""
    if not run.folder.is_whole():
        summary = import_module(f"pipeline.stages.{run.record.kind}").compute(run)
        run.folder.publish(_header(run, summary))
    return run.folder.load()


def run_until(results: Path, planned: PlannedRun, last: str, **settings: Any) -> Job:
    """Run a planned stage and all it needs; returns the finished stage."""
    wanted = planned.stages[last]
    for stage in in_order([wanted]):
        run = make_run(results, stage, **settings)
        finish(run)
    return run


class Stops:
    """Gives no reason `allowed` times, then one; `error` is raised instead, like a kill that saves nothing."""

    def __init__(self, allowed: int, error: bool = False) -> None:
        self.allowed, self.error = allowed, error

    def __call__(self) -> str | None:
        self.allowed -= 1
        if self.allowed >= 0:
            return None
        if self.error:
            raise KeyboardInterrupt
        return "told to stop"


def attempts(results: Path, stage: Stage, allowed: int, error: bool, **settings: Any) -> int:
    """Start a stage again and again until it is finished; returns how often it was stopped."""
    for count in range(60):
        run = make_run(results, stage, Stops(allowed + (count if error else 0), error), **settings)
        try:
            finish(run)
            return count
        except (Interrupted, KeyboardInterrupt):
            continue
    raise AssertionError("the stage gets nowhere")
