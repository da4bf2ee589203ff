"""A small configuration that planning tests edit: the shipped recipes beside a few files of their own."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifacts.files import write_json
from pipeline.config.load import load_config
from pipeline.config.yaml_files import merge
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import PlannedRun, Planner
from pipeline.plan.stage import Stage, in_order

SHIPPED = Path(__file__).resolve().parents[2] / "config"
STEPS = {"train": {"steps": 10}}


class Shop:
    """A `config/` folder and a `results/` folder; edits change files, plans read them anew."""

    def __init__(self, folder: Path) -> None:
        self.root, self.results = folder / "config", folder / "results"
        for name in ("recipes", "networks", "taxonomies"):
            shutil.copytree(SHIPPED / name, self.root / name)
        for domain, splits in (("rendered", ("train",)), ("camera", ("train", "val"))):
            spec = yaml.safe_load((SHIPPED / "datasets" / f"streets-{domain}.yaml").read_text("utf-8"))
            spec["splits"] = {split: {"count": 4} for split in splits}
            self.write("datasets", f"streets-{domain}", spec)
        task = {
            "taxonomy": "camvid11",
            "source": {"dataset": "streets-rendered"},
            "target": {"dataset": "streets-camera"},
            "evaluate": {"dataset": "streets-camera", "split": "val"},
        }
        self.write("tasks", "tiny", task)
        self.experiments: dict[str, Any] = {}
        self.experiment("main")
        self.settings()

    def path(self, folder: str, name: str) -> Path:
        return self.root / folder / f"{name}.yaml"

    def write(self, folder: str, name: str, value: Mapping[str, Any]) -> None:
        path = self.path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")  # JSON is YAML, and faster to read and write

    def edit(self, folder: str, name: str, **changes: Any) -> None:
        """Lay `changes` over a file, mappings key by key."""
        values = yaml.safe_load(self.path(folder, name).read_text("utf-8"))
        self.write(folder, name, merge(values, changes))

    def experiment(self, name: str, recipe: str = "intrada", **more: Any) -> None:
        """Write an experiment; `set` is laid over ten steps per training stage."""
        body = {"task": "tiny", "recipe": recipe, "network": "small", "seeds": [0]} | more
        self.suite({**self.experiments, name: body | {"set": merge(STEPS, more.get("set", {}))}})

    def suite(self, experiments: Mapping[str, Any], **shared: Any) -> None:
        """Write the suite `shop` with these experiments alone."""
        self.experiments = dict(experiments)
        self.write(".", "shop", {**shared, "experiments": self.experiments})

    def settings(self, **values: Any) -> None:
        self.write(".", "config", {"suite": "shop", **values})

    def config(self, **overrides: Any):
        """The experiment `main`, unless `only` says otherwise."""
        return load_config(root=self.root, overrides={"only": "main", **overrides})

    def runs(self, **overrides: Any) -> list[PlannedRun]:
        return Planner(self.config(**overrides), self.results).plan()

    def run(self, **overrides: Any) -> PlannedRun:
        (found,) = self.runs(**overrides)
        return found

    def publish(self, **overrides: Any) -> list[PlannedRun]:
        """Plan and write the stage files."""
        config = self.config(**overrides)
        runs = Planner(config, self.results).plan()
        write_stage_files(config, runs, self.results)
        return runs

    def fails(self, **overrides: Any) -> str:
        from pipeline.artifacts.errors import SegadaptError

        with pytest.raises(SegadaptError) as error:
            self.runs(**overrides)
        return str(error.value)


def keys_by_name(run: PlannedRun) -> dict[str, str]:
    """Keys of all stages of a run: by the recipe's names, `select:`, `evaluate:` and `data:` of each role."""
    found = {name: stage.key for name, stage in run.stages.items()}
    found |= {f"select:{name}": stage.key for name, stage in run.selects.items()}
    found |= {f"evaluate:{name}": stage.key for name, stage in run.evaluates.items()}
    for stage in in_order(run.all_stages()):
        if stage.kind == "prepare":
            found[f"data:{stage.label.removeprefix('prepare-')}"] = stage.key
    return found


def changed(before: PlannedRun, after: PlannedRun) -> set[str]:
    """Names whose keys differ between two plans of one recipe."""
    old, new = keys_by_name(before), keys_by_name(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def by_key(runs: list[PlannedRun]) -> dict[str, Stage]:
    return {stage.key: stage for stage in in_order(stage for run in runs for stage in run.all_stages())}


def finish(shop: Shop, stage: Stage) -> None:
    """Leave the manifest of a stage."""
    write_json(manifest(shop.results, stage.rule, stage.key), {"hashed": stage.record.hashed})


def manifest(results: Path, rule: str, key: str) -> Path:
    path = results / rule / key / "artifact.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
