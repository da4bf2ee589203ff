"""What the Snakefile asks: write the plan, and the inputs of a job by its key."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.load import load_config
from pipeline.plan.files import finished_runs, write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.records import REPORTS, ReportsRecord, RunName, RunRecord
from pipeline.stages.record import ArtifactRef, read_record
from pipeline.stages.results import PAGE, Results

RESULTS = Results()


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
    suites = list(_reports().suites)
    made = [suite for suite in suites if _publish(f"report-{suite}", f"report/{suite}")]
    _publish(REPORTS, REPORTS)
    return made


def _publish(key: str, log: str) -> bool:
    """Run a file of `results/stages/` as a rule would."""
    words = ["run", str(RESULTS.planned(key)), "--log", f"logs/{log}.log"]
    return subprocess.run([sys.executable, "-m", "pipeline", *words]).returncode == 0


def _manifests(stages: Iterable[ArtifactRef]) -> list[str]:
    return list(dict.fromkeys(str(RESULTS.manifest(stage)) for stage in stages))


def parents_of(wildcards: Any) -> list[str]:
    """Artifacts that the stage `{key}` reads."""
    return _manifests(RESULTS.record(wildcards.key).parents.values())


def threads_of(wildcards: Any) -> int:
    """Cores of the stage `{key}`: its `run: threads`, so that as many stages run side by side as have room."""
    return RESULTS.record(wildcards.key).run.threads


def figures_of(wildcards: Any) -> list[str]:
    """Artifacts that an experiment's folder links to."""
    path = RESULTS.planned(RunName(experiment=wildcards.experiment, seed=wildcards.seed).key)
    return _manifests(read_record(path, RunRecord).artifacts())


def _reports() -> ReportsRecord:
    return read_record(RESULTS.planned(REPORTS), ReportsRecord)


def metrics_of(wildcards: Any) -> list[str]:
    """`metrics.json` of every selected experiment and seed of a suite."""
    return [str(RESULTS.metrics(run.experiment, run.seed)) for run in _reports().suites[wildcards.suite]]


def selected_pages(_: Any) -> list[str]:
    """The page of every suite with a selected experiment."""
    return [str(RESULTS.report(suite) / PAGE) for suite in _reports().suites]
