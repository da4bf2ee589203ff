"""`start`: the whole chain on this machine. Kill it anywhere; the same command goes on from where it was.

It holds a lock of its own, which the kernel frees when its holder dies. Whoever has it knows that no other
Snakemake works in this folder, so a lock that a killed Snakemake left behind is stale and is cleared.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.commands.configuration import (
    add_selection_arguments,
    chosen_assignments,
    chosen_configuration,
)
from pipeline.config.load import parse_assignments
from pipeline.plan.planner import Planner
from pipeline.plan.workflow import publish_pages
from pipeline.stages.results import PAGE, SUMMARY, Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)
    parser.add_argument("--cores", default="all", help="CPU cores for Snakemake (default: all)")


@contextmanager
def sole_run(path: Path) -> Iterator[int]:
    """Hold the run lock; wait while another run holds it, saying so. Yields the lock's file descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    file.seek(0)
                    print(
                        f"another run works here (process {file.read().strip() or 'unknown'}); waiting for it",
                        flush=True,
                    )
                    told = True
                time.sleep(1)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file.fileno()


def _assignments(words: Sequence[str]) -> list[str]:
    """`run.device=cpu` as Snakemake takes it, `run={"device": "cpu"}`: it knows no dots in a key."""
    dotted = [word for word in words if "." in word.partition("=")[0]]
    nested = [f"{key}={json.dumps(value)}" for key, value in parse_assignments(dotted).items()]
    return [word for word in words if word not in dotted] + nested


def _snakemake(arguments: argparse.Namespace, *more: str) -> list[str]:
    # The hooks are for who calls Snakemake itself: `start` makes the pages of a failed run and prints them.
    command = [sys.executable, "-m", "snakemake", "--cores", str(arguments.cores), "--no-hooks", *more]
    if arguments.configfile:
        command += ["--configfile", *arguments.configfile]
    if assignments := chosen_assignments(arguments):
        command += ["--config", *_assignments(assignments)]
    return command


@contextmanager
def _interrupts_left_to_snakemake() -> Iterator[None]:
    """Outlive Ctrl-C, which the whole group gets: Snakemake and its stages save and end, and are waited for."""
    # Not SIG_IGN: an ignored signal would stay ignored in Snakemake.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_workflow(arguments: argparse.Namespace, *targets: str) -> int:
    """Run Snakemake for these files, or for everything, under the lock; returns its exit code.

    `arguments`: `configfile`, `config` and `cores` as on the command line.
    """
    with sole_run(Results().run_lock()) as lock:
        if any(Path(".snakemake/locks").glob("*")):
            print("clearing the lock that a killed run left behind", flush=True)
            subprocess.run(_snakemake(arguments, "--unlock", "--quiet", "all"), check=True)
        # Snakemake inherits the lock: while it lives, even without this process, no second run starts.
        command = [*_snakemake(arguments), *(["--", *targets] if targets else [])]
        with _interrupts_left_to_snakemake():
            return subprocess.run(command, pass_fds=[lock]).returncode


def execute(arguments: argparse.Namespace) -> int:
    """Run Snakemake under the lock, then print each suite's table and where its report lies.

    What failed does not hide what went well: its exit code is passed on, and the table says why it failed.
    """
    config = chosen_configuration(arguments)
    Planner(config).plan()  # a mistake ends here, before Snakemake starts
    code = run_workflow(arguments)
    suites = publish_pages() if code else [suite.name for suite in config.selected_suites()]
    for suite in suites:
        folder = Results().report(suite)
        print((folder / SUMMARY).read_text(encoding="utf-8").rstrip())
        print(f"report: {folder / PAGE}")
    return code
