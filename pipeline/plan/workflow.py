"""What the Snakefile asks: write the plan, and the inputs of a job by its key."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.load import load_config
from pipeline.plan.files import RESULTS, finished_runs, write_stage_files
from pipeline.plan.planner import Planner


def set_environment(root: Path) -> None:
    """Make jobs run with the Python that runs Snakemake, activated or not, and with the package in `root`."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    # Threads that spin while they wait take the cores from the jobs beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def write_plan(configfiles: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Validate the configuration and write all stage files; the main process calls this once."""
    config = load_config(configfiles, overrides)
    planner = Planner(config)
    runs = planner.plan()
    write_stage_files(config, runs, finished=finished_runs(planner))


def publish_pages() -> list[str]:
    """Make the pages of the selected suites from the runs that have finished, where others keep the rules from it.

    Returns the suites whose page could be made; the others' mistakes are in their logs and on the terminal.
    """
    suites = list(_record("reports")["suites"])
    made = [suite for suite in suites if _publish(f"report-{suite}", f"report/{suite}")]
    _publish("reports", "reports")
    return made


def _publish(name: str, log: str) -> bool:
    """Run a file of `results/stages/` as a rule would."""
    words = ["run", str(RESULTS / "stages" / f"{name}.json"), "--log", f"logs/{log}.log"]
    return subprocess.run([sys.executable, "-m", "pipeline", *words]).returncode == 0


def _record(name: str) -> dict[str, Any]:
    path = RESULTS / "stages" / f"{name}.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _artifact(parent: Mapping[str, str]) -> str:
    return str(RESULTS / parent["rule"] / parent["key"] / "artifact.json")


def parents_of(wildcards: Any) -> list[str]:
    """Artifacts that the stage `{key}` reads."""
    return [_artifact(parent) for parent in _record(wildcards.key)["parents"].values()]


def threads_of(wildcards: Any) -> int:
    """Cores of the stage `{key}`: its `run: threads`, so that as many stages run side by side as have room."""
    threads: int = _record(wildcards.key)["run"]["threads"]
    return threads


def figures_of(wildcards: Any) -> list[str]:
    """Artifacts that an experiment's folder links to."""
    record = _record(f"experiment-{wildcards.experiment}-seed{wildcards.seed}")
    parents = [*record["stages"], *record["selects"].values(), *record["evaluates"].values()]
    return list(dict.fromkeys(_artifact(parent) for parent in parents))


def metrics_of(wildcards: Any) -> list[str]:
    """`metrics.json` of every selected experiment and seed of a suite."""
    return [
        str(RESULTS / "experiments" / run["experiment"] / f"seed{run['seed']}" / "metrics.json")
        for run in _record("reports")["suites"][wildcards.suite]
    ]


def selected_pages(_: Any) -> list[str]:
    """The page of every suite with a selected experiment."""
    return [str(RESULTS / "report" / suite / "index.html") for suite in _record("reports")["suites"]]
