"""The command line of Snakemake, from that of `start` and `suggest` and from what this machine has."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from pipeline.artifacts.cores import job_cores
from pipeline.commands.configuration import chosen_assignments
from pipeline.commands.profiles import Profile
from pipeline.config.load import given_file, parse_assignments
from pipeline.config.shipped import shipped
from pipeline.training.leases import VISIBLE, count_gpus

SNAKEFILES = ("Snakefile", "workflow/Snakefile")
"""Where Snakemake looks for a workflow in the working directory."""


def snakemake_command(arguments: argparse.Namespace) -> list[str]:
    """The words that start Snakemake; `arguments`: `configfile`, `config`, `profile` and `cores` as on the command line."""
    command = [sys.executable, "-m", "snakemake"]
    if arguments.profile is not None:
        command += ["--workflow-profile", str(Profile.named(arguments.profile).file.parent.absolute())]
    else:
        command += ["--resources", *_resources_here(arguments.cores)]
    if arguments.profile is None or arguments.cores is not None:
        command += ["--cores", str(arguments.cores or "all")]
    if not any(map(os.path.isfile, SNAKEFILES)):
        command += ["--snakefile", str(shipped("Snakefile"))]
    if arguments.configfile:
        command += ["--configfile", *map(str, map(given_file, arguments.configfile))]
    if assignments := chosen_assignments(arguments):
        command += ["--config", *_assignments(assignments)]
    return command


def _resources_here(cores: str | None) -> list[str]:
    """What stages share on this machine: its GPUs, and what else `profiles/default` limits.

    Without a GPU the cores alone decide how many stages run side by side. Where CUDA_VISIBLE_DEVICES is set every
    stage would take the same GPUs, so that stages that use one run one after the other.
    """
    gpus = count_gpus()
    if gpus and VISIBLE in os.environ:
        gpus = 1
    shared = gpus or (int(cores) if cores and cores.isdecimal() else job_cores())
    return [
        f"{name}={value}" for name, value in {**Profile.named("default").resources, "gpu": shared}.items()
    ]


def _assignments(words: Sequence[str]) -> list[str]:
    """`run.device=cpu` as Snakemake takes it, `run={"device": "cpu"}`: it knows no dots in a key."""
    dotted = [word for word in words if "." in word.partition("=")[0]]
    nested = [f"{key}={json.dumps(value)}" for key, value in parse_assignments(dotted).items()]
    return [word for word in words if word not in dotted] + nested
