"""The demo's recipe on a handful of tiny street scenes, in a folder of its own, through Snakemake or in-process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.stages.runner import run_stage

REPOSITORY = Path(__file__).resolve().parents[2]
EXPERIMENT: dict[str, Any] = {
    "task": "tiny",
    "recipe": "intrada",
    "network": "small",
    "seeds": [0],
    "set": {
        "train": {
            "steps": 3,
            "batch": 2,
            "snapshots": 2,
            "optimiser": {"kind": "adamw", "lr": 0.002, "head_lr_mult": 1.0},
            "augmentation": {"source": {"flip": 0.5}, "target": {"flip": 0.5}},
        },
        "split": {"lambda": 0.5},
    },
}
RUN = {"device": "cpu", "threads": 1, "workers": 0, "log_every": 2}


def write_config(
    folder: Path, experiment: dict[str, Any] | None = None, run: dict[str, Any] | None = None
) -> Path:
    """Write `config/` below `folder`: shipped recipes, networks and taxonomies, tiny datasets and one experiment."""
    root = folder / "config"
    for name in ("recipes", "networks", "taxonomies"):
        shutil.copytree(REPOSITORY / "config" / name, root / name, dirs_exist_ok=True)
    for domain, splits in (("rendered", {"train": 5}), ("camera", {"train": 6, "val": 3})):
        spec = yaml.safe_load((REPOSITORY / f"config/datasets/streets-{domain}.yaml").read_text("utf-8"))
        spec |= {"size": [48, 32], "splits": {name: {"count": count} for name, count in splits.items()}}
        write(root / f"datasets/streets-{domain}.yaml", spec)
    task = {
        "taxonomy": "camvid11",
        "source": {"dataset": "streets-rendered", "split": "train"},
        "target": {"dataset": "streets-camera", "split": "train"},
        "evaluate": {"dataset": "streets-camera", "split": "val"},
    }
    write(root / "tasks/tiny.yaml", task)
    write_suite(root, experiment or EXPERIMENT)
    write(root / "config.yaml", {"suite": "tiny", "run": run or RUN})
    return root


def write_suite(root: Path, experiment: dict[str, Any]) -> None:
    """Write the suite `tiny` with one experiment of that name."""
    write(root / "tiny.yaml", {"experiments": {"tiny": experiment}})


def write(path: Path, value: Any) -> None:
    """Write plain data as JSON, which is YAML and has no aliases."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the repository's workflow in `folder`."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(REPOSITORY / "Snakefile"),
        "--directory",
        str(folder),
    ]
    return subprocess.run(
        [*command, "--cores", "1", "--workflow-profile", "none", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def digests(folder: Path) -> dict[str, str]:
    """The digest of every finished artifact by key."""
    manifests = [json.loads(path.read_text()) for path in folder.glob("results/*/*/artifact.json")]
    return {manifest["key"]: manifest["digest"] for manifest in manifests}


def starts(folder: Path) -> dict[str, int]:
    """How often every stage computed, by key."""
    return {
        path.parent.parent.name: len(json.loads(path.read_text()))
        for path in folder.glob("results/*/*/run/history.json")
    }


def run_all(folder: Path, patch: pytest.MonkeyPatch, **run: Any) -> dict[str, str]:
    """Run every stage of the tiny experiment in this process; returns the digests by key."""
    write_config(folder, run=RUN | run)
    patch.chdir(folder)
    config = load_config(root=folder / "config")
    runs = Planner(config).plan()
    write_stage_files(config, runs)
    for stage in in_order(stage for planned in runs for stage in planned.all_stages()):
        assert run_stage(folder / f"results/stages/{stage.key}.json", None) == 0, stage.key
    return digests(folder)
