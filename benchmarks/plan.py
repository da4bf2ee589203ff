"""How long planning takes: 500 experiments on the built-in streets, about 3,000 stages, planned and dry-run.

    python benchmarks/plan.py                  # full size
    python benchmarks/plan.py --experiments 20 # toy size

Prints one line per figure and writes them to benchmarks/out/plan.json. Nothing runs; a temporary folder holds
the configuration. Beside the dry run stands that of as many empty jobs with the same parents, which is what
Snakemake takes whatever it runs; the goal for all that is ours, planning and the rules' functions, is 2 s of processor time.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.config.load import load_config
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.stages.results import Results

REPOSITORY = Path(__file__).resolve().parents[1]
OUT = Path(__file__).parent / "out" / "plan.json"
EMPTY = """
import json
from pathlib import Path

PARENTS = json.loads(Path("parents.json").read_text())


rule all:
    input:
        PARENTS["all"],


rule one:
    input:
        lambda wildcards: PARENTS[f"results/{wildcards.path}.json"],
    output:
        "results/{path}.json",
    shell:
        "true"
"""
SHARES = [0.3, 0.5, 0.6, 0.7, 0.8]


def suite(count: int) -> dict[str, Any]:
    """A sweep of `count` experiments (at least 5): adversarial weights, and five values of lambda for each."""
    weights = [1e-4 * (1 + number) for number in range(count // len(SHARES))]
    sweep = {"inter.objective.adversarial_weight": weights, "split.lambda": SHARES}
    return {
        "task": "streets",
        "network": "small",
        "recipe": "intrada",
        "set": {"train": {"steps": 100}},
        "experiments": {"sweep": {"sweep": sweep}},
    }


def write_configuration(folder: Path, count: int) -> None:
    """Copy the shipped configuration and make the sweep its default suite."""
    shutil.copytree(REPOSITORY / "config", folder / "config")
    for name, content in (("sweep", suite(count)), ("config", {"suite": "sweep"})):
        (folder / "config" / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")


def write_empty_jobs(folder: Path) -> None:
    """Write a workflow of as many jobs, with the same parents, that do nothing."""
    runs = Planner(load_config([], {}, root=folder / "config")).plan()
    results = Results()
    parents: dict[str, list[str]] = {"all": []}
    for run in runs:
        metrics = str(results.metrics(run.experiment, run.seed))
        parents["all"].append(metrics)
        parents[metrics] = [str(results.manifest(stage.record)) for stage in run.all_stages()]
        for stage in in_order(run.all_stages()):
            read = [str(results.manifest(one.record)) for one in stage.parents.values()]
            parents[str(results.manifest(stage.record))] = read
    (folder / "parents.json").write_text(json.dumps(parents), encoding="utf-8")
    (folder / "Empty").write_text(EMPTY, encoding="utf-8")


def timed(folder: Path, *command: str) -> tuple[float, float, str]:
    """Seconds on the clock and of the processor that a command takes in `folder`, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, processor, done.stdout


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--experiments", type=int, default=500)
    count = parser.parse_args().experiments
    with tempfile.TemporaryDirectory(prefix="segadapt-plan-") as name:
        folder = Path(name)
        write_configuration(folder, count)
        write_empty_jobs(folder)
        plan, plan_processor, table = timed(folder, "pipeline", "plan")
        dry = ["snakemake", "-n", "--quiet", "all", "--cores", "2", "--snakefile"]
        seconds, processor, _ = timed(folder, *dry, str(REPOSITORY / "Snakefile"))
        _, empty, _ = timed(folder, *dry, "Empty")
    figures = {
        "experiments": count,
        "stages": int(table.splitlines()[-1].split()[0]),
        "plan_seconds": round(plan, 1),
        "plan_processor_seconds": round(plan_processor, 1),
        "dry_run_seconds": round(seconds, 1),
        "dry_run_processor_seconds": round(processor, 1),
        "empty_jobs_processor_seconds": round(empty, 1),
        "ours_processor_seconds": round(processor - empty, 1),
        "load_average": round(os.getloadavg()[0], 1),
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
