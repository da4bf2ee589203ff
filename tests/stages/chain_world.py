"""IntraDA's whole chain on a handful of PNG files, stage by stage in this process, with every opened file noted.

The target's training labels do not exist in the shared run: a run that looked for them would fail.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.config.load import load_config
from pipeline.config.yaml_files import merge
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import PlannedRun, Planner
from pipeline.plan.stage import Stage, in_order
from pipeline.report.publishing import run_file
from pipeline.streets.images import render_scene

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = (48, 32)
TARGET_IMAGES = 6
TRAIN = {
    "steps": 4,
    "batch": 2,
    "snapshots": 2,
    "optimiser": {"kind": "adamw", "lr": 0.002, "head_lr_mult": 1.0},
    "augmentation": {"source": {"flip": 0.5}, "target": {"flip": 0.5}},
}
RUN = {"device": "cpu", "threads": 1, "workers": 0, "log_every": 2}

_listeners: list[set[str]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _listeners:
        for heard in _listeners:
            heard.add(str(arguments[0]))


sys.addaudithook(_hear)  # stays for the life of the process, and does nothing while nobody listens


def write(path: Path, value: Any) -> None:
    """Write plain data as JSON, which is YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def write_pictures(folder: Path, domain: str, split: str, count: int, labels: bool) -> None:
    """Street scenes as `images/<split>/N.png`, and their class ids as `labels/<split>/N.png`."""
    for number in range(count):
        image, label = render_scene(domain, split, number, 0, SIZE)  # type: ignore[arg-type]
        for kind, pixels in (("images", image), ("labels", label)):
            path = folder / kind / split / f"{number}.png"
            if kind == "images" or labels:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)


def write_config(folder: Path, data: Path) -> None:
    """The shipped recipes, networks and taxonomies beside two datasets of files and one task."""
    root = folder / "config"
    for name in ("recipes", "networks", "taxonomies"):
        shutil.copytree(REPOSITORY / "config" / name, root / name)
    names = [one["name"] for one in json_or_yaml(root / "taxonomies" / "camvid11.yaml")["classes"]]
    for name, splits in (("rendered", ("train",)), ("camera", ("train", "val"))):
        spec = {
            "root": str(data / name),
            "splits": {
                split: {"images": f"images/{split}/*.png", "labels": f"labels/{split}/*.png"}
                for split in splits
            },
            "ids": {name: place for place, name in enumerate(names)},
        }
        write(root / "datasets" / f"{name}.yaml", spec)
    task = {
        "taxonomy": "camvid11",
        "source": {"dataset": "rendered"},
        "target": {"dataset": "camera"},
        "evaluate": {"dataset": "camera", "split": "val"},
    }
    write(root / "tasks" / "files.yaml", task)


def json_or_yaml(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


@dataclass
class Chain:
    """A folder with `data/`, `config/` and `results/`; `opened` holds what each stage opened, by key."""

    folder: Path
    opened: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> "Chain":
        data = folder / "data"
        write_pictures(data / "rendered", "rendered", "train", 5, labels=True)
        write_pictures(data / "camera", "camera", "train", TARGET_IMAGES, labels=False)
        write_pictures(data / "camera", "camera", "val", 3, labels=True)
        write_config(folder, data)
        return cls(folder)

    def copy(self, folder: Path) -> "Chain":
        """The same results elsewhere, to do harm to; the data stay where they are."""
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("data"))
        return Chain(folder)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def plan(
        self, recipe: str = "intrada", set_: Mapping[str, Any] | None = None, name: str = "main", **more: Any
    ) -> PlannedRun:
        """Plan one experiment of the task and write its stage files."""
        root = self.folder / "config"
        values = merge({"train": TRAIN}, dict(set_ or {}))
        body = {"task": "files", "recipe": recipe, "network": "small", "set": values, **more}
        write(root / "chain.yaml", {"experiments": {name: body}})
        write(root / "config.yaml", {"suite": "chain", "run": RUN})
        config = load_config(root=root)
        (run,) = runs = Planner(config, self.results).plan()
        write_stage_files(config, runs, self.results)
        return run

    def stage_file(self, stage: Stage) -> Path:
        return self.results / "stages" / f"{stage.key}.json"

    def artifact(self, stage: Stage) -> ArtifactFolder:
        return ArtifactFolder(self.results / stage.rule / stage.key)

    def log(self, stage: Stage) -> str:
        return (self.folder / "logs" / f"{stage.key}.log").read_text("utf-8")

    def run(self, stage: Stage, **options: Any) -> int:
        """Run one stage as a job does, and note what it opens; returns the exit code."""
        heard: set[str] = set()
        _listeners.append(heard)
        try:
            return run_file(self.stage_file(stage), self.folder / "logs" / f"{stage.key}.log", **options)
        finally:
            _listeners.remove(heard)
            self.opened.setdefault(stage.key, set()).update(heard)

    def finish(self, *stages: Stage) -> None:
        """Run the stages and all they come from, unless finished; fails on the first exit code but 0."""
        for stage in in_order(stages):
            if not (self.artifact(stage).path / "artifact.json").is_file():
                assert self.run(stage) == 0, self.log(stage)

    def publish(self, run: PlannedRun) -> Path:
        """Make the folder for people of a finished run."""
        name = f"experiment-{run.experiment}-seed{run.seed}"
        assert run_file(self.results / "stages" / f"{name}.json", None) == 0
        return self.results / "experiments" / run.experiment / f"seed{run.seed}"

    def report(self) -> int:
        """Make the page over the experiment planned last; returns the exit code."""
        return run_file(self.results / "stages" / "report-chain.json", None)

    def outcomes(self, stage: Stage) -> list[str]:
        """How each attempt of a stage ended."""
        path = self.artifact(stage).run / "history.json"
        return [entry["outcome"] for entry in read_json(path)] if path.is_file() else []
