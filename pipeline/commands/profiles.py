"""Snakemake's profiles, as `start` uses them and `plan` shows what they ask for.

`--profile NAME` is a folder, or one in `profiles/`, the project's or the package's; `--slurm` is `--profile slurm`.
"""

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import ConfigError
from pipeline.commands.cost import aligned
from pipeline.config.shipped import shipped
from pipeline.config.yaml_files import read_yaml
from pipeline.plan.requests import Request, request_of
from pipeline.schema.names import nearest
from pipeline.stages.record import StageRecord

FILES = ("profile.yaml", "config.yaml")
_MINUTES = {"s": 1 / 60, "m": 1, "h": 60, "d": 1440}
_HEADER = ("rule", "jobs", "GPUs", "cores", "memory", "time limit", "more")


def add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --profile and --slurm."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--profile", metavar="NAME", help="run the stages as Snakemake's profile NAME says, such as slurm"
    )
    which.add_argument(
        "--slurm", dest="profile", action="store_const", const="slurm", help="send them to SLURM"
    )


@dataclass(frozen=True)
class Profile:
    """One of Snakemake's profiles: its file."""

    file: Path

    @classmethod
    def named(cls, name: str) -> "Profile":
        """A profile by its folder or name; ConfigError lists those there are."""
        folders = (Path(name), Path("profiles", name), shipped(Path("profiles", name)))
        found = (folder / file for folder in folders for file in FILES if (folder / file).is_file())
        if file := next(found, None):
            return cls(file)
        bases = (Path("profiles"), shipped("profiles"))
        names = {path.parent.name for base in bases for path in base.glob("*/*.yaml")}
        raise ConfigError(f"--profile {name}: no such profile; {nearest(name, names)}")

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """What the file says."""
        return read_yaml(self.file)

    @property
    def sends_jobs(self) -> bool:
        """Whether the stages run elsewhere, so that Snakemake has to call them off."""
        return self.values.get("executor", "local") != "local"

    def check_executor(self) -> None:
        """ConfigError where the stages are to be sent to a SLURM that is not here."""
        if self.values.get("executor") == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError(
                f"{self.file}: executor: slurm, but the command `sbatch` is not found; run on a login node of the cluster, "
                "or start without --slurm"
            )

    @property
    def resources(self) -> dict[str, Any]:
        """What all jobs share, by name."""
        given = self.values.get("resources") or {}
        if isinstance(given, Mapping):
            return dict(given)
        words = given.split() if isinstance(given, str) else given
        if not isinstance(words, list) or not all("=" in str(word) for word in words):
            raise ConfigError(
                f"{self.file}: resources: found {given!r}; needs names and values, such as `gpu: 1`"
            )
        return dict(str(word).split("=", 1) for word in words)

    def _of_rules(self, key: str) -> Mapping[str, Any]:
        """`set-resources`, `set-threads` or `default-resources`: values by rule or resource."""
        found = self.values.get(key) or {}
        if not isinstance(found, Mapping):
            raise ConfigError(f"{self.file}: {key}: found a list; needs a mapping from names to values")
        return found

    def row(self, record: StageRecord) -> tuple[str, ...]:
        """What a stage's job asks for under this profile, for people: rule, GPUs, cores, memory, limit, and more."""
        asked: Request = request_of(record)
        given = {"gpu": asked.gpus, "mem_mb": asked.mem_mb, "runtime": asked.minutes}
        given |= self._of_rules("set-resources").get(record.rule) or {}
        cores = self._of_rules("set-threads").get(record.rule, asked.cores)
        gpus, memory, limit = given.pop("gpu"), given.pop("mem_mb"), given.pop("runtime")
        return record.rule, str(gpus), str(cores), _gigabytes(memory), _hours(limit), _words(given)

    @property
    def of_all(self) -> str:
        """What every job asks for besides, such as account and partition."""
        given = self._of_rules("default-resources")
        return _words({name: value for name, value in given.items() if name not in ("mem_mb", "runtime")})


def requests_table(profile: Profile, records: Iterable[StageRecord]) -> Iterator[str]:
    """Lines: how many jobs of each rule ask for what under the profile."""
    counted = Counter(map(profile.row, records))
    rows = [_HEADER, *((rule, str(jobs), *rest) for (rule, *rest), jobs in counted.items())]
    yield f"what the jobs ask for, by {profile.file}{profile.of_all and ': '}{profile.of_all}"
    yield from aligned(rows)


def _words(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items())


def _gigabytes(memory: Any) -> str:
    return f"{float(memory) / 1000:g} GB" if re.fullmatch(r"[\d.]+", str(memory)) else str(memory)


def _hours(limit: Any) -> str:
    """A time limit: minutes, or what Snakemake reads as such (`12h`), in hours."""
    match = re.fullmatch(r"([\d.]+) ?([smhd]?)\w*", str(limit))
    return f"{float(match[1]) * _MINUTES[match[2] or 'm'] / 60:.2g} h" if match else str(limit)
