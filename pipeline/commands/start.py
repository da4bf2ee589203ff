"""`start`: the whole chain on this machine. Kill it anywhere; the same command goes on from where it was."""

import argparse
from pathlib import Path

from pipeline.commands.configuration import add_selection_arguments, chosen_configuration
from pipeline.commands.main_process import run_workflow
from pipeline.plan.moves import check_taken, moves
from pipeline.plan.places import check_places
from pipeline.plan.planner import Planner
from pipeline.stages.results import PAGE, SUMMARY, Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)
    parser.add_argument("--cores", default="all", help="CPU cores for Snakemake (default: all)")


def execute(arguments: argparse.Namespace) -> int:
    """Run Snakemake under the lock, then print each suite's table and where its report lies.

    What failed does not hide what went well: its exit code is passed on, and the table says why it failed.
    """
    config = chosen_configuration(arguments)
    runs = Planner(config).plan()  # a mistake ends here, before Snakemake starts
    check_places(runs)
    check_taken(config, runs)
    for line in moves(runs):
        print(line, flush=True)
    folders = [Results().report(suite.name) for suite in config.selected_suites()]
    before = {folder: _written(folder) for folder in folders}
    code = run_workflow(arguments)
    for folder in folders:
        # After a failure only what Snakemake's hook has made anew: an old table would hide what happened.
        if code == 0 or _written(folder) != before[folder]:
            print((folder / SUMMARY).read_text(encoding="utf-8").rstrip())
            print(f"report: {folder / PAGE}")
    return code


def _written(folder: Path) -> int | None:
    """When the table in a report's folder was written; None without one."""
    path = folder / SUMMARY
    return path.stat().st_mtime_ns if path.is_file() else None
