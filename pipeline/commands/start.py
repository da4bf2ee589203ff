"""`start`: the whole chain, here or on a cluster. Kill it anywhere; the same command goes on from where it was.

python -m pipeline start --configfile config/demo.yaml
python -m pipeline start --verbose                        # Snakemake's own output in place of ours
python -m pipeline start --slurm                          # each stage a job of SLURM, as profiles/slurm says
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.artifacts.program import program
from pipeline.commands.configuration import (
    add_offline_argument,
    add_selection_arguments,
    chosen_configuration,
    core_count,
    stay_offline,
)
from pipeline.commands.main_process import run_workflow
from pipeline.commands.profiles import Profile, add_profile_arguments
from pipeline.commands.run_lock import RunLock, nobody_else
from pipeline.config.load import Config
from pipeline.config.shipped import check_package
from pipeline.plan.moves import check_taken, moves
from pipeline.plan.places import check_places
from pipeline.plan.planner import Planner
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import in_order
from pipeline.plan.table import names_of_stages
from pipeline.stages.kinds import KINDS
from pipeline.stages.results import PAGE, SUMMARY, Results

if TYPE_CHECKING:
    from pipeline.commands.display import Watch
    from pipeline.commands.run_state import Waiting


LISTED = 4
"""Models that are named at the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)
    add_offline_argument(parser)
    add_profile_arguments(parser)
    parser.add_argument(
        "--cores",
        type=core_count,
        help="CPU cores for Snakemake, or `all` (default: all, or what a profile says)",
    )
    parser.add_argument("--verbose", action="store_true", help="show Snakemake's own output")


def execute(arguments: argparse.Namespace) -> int:
    """Run Snakemake under the lock, then print each suite's table, where its report lies, and how to use the model.

    What failed does not hide what went well: its exit code is passed on, and the table says why it failed.
    """
    check_package(Path())
    stay_offline(arguments)
    if arguments.profile is not None:
        Profile.named(arguments.profile).check_executor()
    print("planning ...", flush=True)
    plan = _plan(arguments)  # a mistake ends here, before another run is waited for
    with nobody_else() as lock:
        if lock.waited:  # stages may have finished meanwhile, and files may have changed
            plan = _plan(arguments)
        folders = [Results().report(suite.name) for suite in plan.config.selected_suites()]
        before = {folder: _written(folder) for folder in folders}
        code = _run(arguments, plan.runs, lock)
    for folder in folders:
        # After a failure only what Snakemake's hook has made anew: an old table would hide what happened.
        if code == 0 or _written(folder) != before[folder]:
            print((folder / SUMMARY).read_text(encoding="utf-8").rstrip())
            print(f"report: {folder / PAGE}")
    if code == 0:
        _tell_of_models(plan.runs)
    return code


class _Plan(NamedTuple):
    config: Config
    runs: Sequence[PlannedRun]


def _plan(arguments: argparse.Namespace) -> _Plan:
    """What the files say now; ConfigError before anything is run."""
    config = chosen_configuration(arguments)
    runs = Planner(config).plan()
    check_places(runs)
    check_taken(config, runs)
    for line in moves(runs):
        print(line, flush=True)
    return _Plan(config, runs)


def _run(arguments: argparse.Namespace, runs: Sequence[PlannedRun], lock: RunLock) -> int:
    """Run the workflow, shown by a watch unless Snakemake's output is wanted."""
    if arguments.verbose:
        return run_workflow(arguments, lock)
    with (watch := _watch(runs)):
        code = run_workflow(arguments, lock, watch=watch)
    if 0 < code < 128:
        print(watch.failure(), file=sys.stderr)
    return code


def _watch(runs: Sequence[PlannedRun]) -> "Watch":
    """What shows the run: bars on a terminal, else lines; first how many stages there are to run."""
    from rich.console import Console

    from pipeline.commands.display import LOG, LiveBars, PlainLines, Watch

    every = list(in_order(stage for run in runs for stage in run.all_stages()))
    plan = waiting_stages(runs)
    print(
        f"{len(every)} stages, {len(plan)} to run; starting Snakemake, whose output goes to {LOG}", flush=True
    )
    console = Console()
    return Watch(plan, LiveBars(console) if console.is_terminal else PlainLines(sys.stdout))


def waiting_stages(runs: Iterable[PlannedRun]) -> "dict[str, Waiting]":
    """The stages that have not finished, parents first, by key."""
    from pipeline.commands.run_state import Waiting

    planned = list(runs)
    names = names_of_stages(planned)
    plan = {}
    for stage in in_order(stage for run in planned for stage in run.all_stages()):
        if not Results().manifest(stage.record).is_file():
            kind = KINDS[stage.kind]
            method = f" ({kind.word_of(stage.parameters)})" if kind.gives == "model" else ""
            what = names.get(stage.key, stage.record.label) + method
            plan[stage.key] = Waiting(what, stage.kind, getattr(stage.parameters, "steps", 1))
    return plan


def _tell_of_models(runs: Sequence[PlannedRun]) -> None:
    """Say where the models lie, those with the most trainings behind them first, and the line that applies the first."""
    ordered = sorted(runs, key=lambda run: len(run.trained))
    folders = [Results().run_folder(run.experiment, run.seed) / "model" for run in ordered]
    models = [folder for folder in folders if folder.is_dir()]
    if models:
        for folder in models[-LISTED:][::-1]:
            print(f"model: {folder}")
        if len(models) > LISTED:
            print(f"and {len(models) - LISTED} more: {models[0].parents[2]}/*/seed*/model")
        print(f"use it: {program()} predict --model {models[-1]} --images FOLDER --out FOLDER")


def _written(folder: Path) -> int | None:
    """When the table in a report's folder was written; None without one."""
    path = folder / SUMMARY
    return path.stat().st_mtime_ns if path.is_file() else None
