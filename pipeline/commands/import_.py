"""`import`: take in an experiment that `archive` wrote elsewhere.

python -m pipeline import demo.tar
"""

import argparse
from pathlib import Path

from pipeline.artifacts.program import program
from pipeline.artifacts.software import versions
from pipeline.commands.run_lock import sole_run, wait_for_others
from pipeline.report.importing import import_archive
from pipeline.stages.results import PAGE, Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("archive", type=Path, metavar="FILE", help="what `archive` wrote")


def execute(arguments: argparse.Namespace) -> int:
    """Check the archive, put it in place, and say what is where."""
    with sole_run(Results().run_lock()):
        wait_for_others()
        table, lines = import_archive(arguments.archive)
    seeds = ", ".join(map(str, table.seeds))
    print(f"{table.experiment}, seeds {seeds}, of suite {table.suite}: {len(table.artifacts())} artifacts")
    for line in lines:
        print(f"  {line}")
    here = versions()
    for name, made_with in table.software.items():
        if name in here and here[name] != made_with:
            print(
                f"  made with {name} {made_with}, here is {here[name]}: what is computed on from it may differ"
            )
    for key in table.left_out:
        print(
            f"  not in the archive: {key}: prepared images, made again from the data when a stage needs them"
        )
    print(f"page:  {Results().report() / PAGE}")
    words = f"--configfile {table.suite_file} --only {table.experiment}"
    print(f"check: {program()} verify, {program()} plan {words}")
    return 0
