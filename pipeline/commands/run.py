"""`run`: one stage file, as a job or by hand."""

import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("stage", type=Path, help="results/stages/KEY.json")
    parser.add_argument("--log", type=Path, help="log file to append to")
    parser.add_argument(
        "--runtime",
        type=float,
        metavar="MINUTES",
        help="the scheduler's time limit; heeded only inside a SLURM job",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the stage; exit code 0 finished, 75 stopped with its state saved, 1 failed."""
    # Read when torch is first imported. Threads that spin while they wait take the cores from other jobs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline.report.publishing import run_file

    # A workstation's jobs may run for ever; only a scheduler ends them at their limit.
    runtime = arguments.runtime if os.environ.get("SLURM_JOB_ID") else None
    return run_file(arguments.stage, arguments.log, runtime)
