"""A work folder with the suite's configuration, and what it tells about stages, attempts and logs."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
EXPERIMENT = "cluster"
STEP_LINE = re.compile(r"^(\S+ \S+) INFO step (\d+)/", re.MULTILINE)


class Work:
    """One copy of the configuration with results of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        # `python` in the rules is the one that runs this suite.
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        self.environment = {**environment, "PATH": path, "PYTHONPATH": str(REPOSITORY)}
        shutil.copytree(REPOSITORY / "config", folder / "config")
        shutil.copytree(Path(__file__).parent / "config", folder / "config", dirs_exist_ok=True)

    def write_settings(self, steps: Mapping[str, int]) -> None:
        """Write the settings with the number of steps by stage name into the suite itself.

        A `set` laid over it would make an experiment of another name.
        """
        path = self.folder / "config" / f"{EXPERIMENT}.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        values["run"] = {"threads": 1, "workers": 0, "log_every": 10, "state_steps": 20}
        values["set"] |= {name: {"steps": count} for name, count in steps.items()}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")

    def write_profile(self, partition: str, limited: str, warning: int) -> None:
        """Write profiles/slurm as a user of this cluster would edit it, and a minute for the rule `limited`.

        The rest is haste: SLURM is asked every few seconds.
        """
        profile = yaml.safe_load((REPOSITORY / "profiles/slurm/profile.yaml").read_text(encoding="utf-8"))
        resources = profile["default-resources"]
        del resources["slurm_account"]  # there is no accounting
        resources["slurm_partition"] = partition
        resources["slurm_extra"] = f"--signal=USR1@{warning}"
        profile["set-resources"][limited]["runtime"] = 1
        profile["slurm-init-seconds-before-status-checks"] = 3
        path = self.folder / "profile" / "profile.yaml"
        path.parent.mkdir()
        path.write_text(yaml.safe_dump(profile), encoding="utf-8")

    def snakemake(self, log: str, *options: str) -> subprocess.Popen[bytes]:
        """Start Snakemake here; its output is appended to the file `log`."""
        # It ends with the suite even when that is killed; the stages it runs notice and stop.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "snakemake"]
        command += ["-s", str(REPOSITORY / "Snakefile")]
        command += ["--configfile", f"config/{EXPERIMENT}.yaml", *options]
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def keys(self) -> dict[str, str]:
        """`<rule>/<key>` of the experiment's training and labelling stages by their name in the recipe."""
        path = self.folder / "results" / "stages" / f"experiment-{EXPERIMENT}-seed0.json"
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        return {stage["name"]: f"{stage['rule']}/{stage['key']}" for stage in stages}

    def planned(self) -> set[str]:
        """`<rule>/<key>` of every planned stage."""
        found = set()
        for path in (self.folder / "results" / "stages").glob("*.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            if "rule" in record:
                found.add(f"{record['rule']}/{record['key']}")
        return found

    def digests(self) -> dict[str, str]:
        """Digest of every artifact by `<rule>/<key>`."""
        paths = (self.folder / "results").glob("*/*/artifact.json")
        return {
            f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text(encoding="utf-8"))[
                "digest"
            ]
            for path in paths
        }

    def history(self, stage: str) -> list[dict[str, Any]]:
        """Attempts at a stage that could say how they ended, oldest first."""
        path = self.folder / "results" / stage / "run" / "history.json"
        attempts: list[dict[str, Any]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        )
        return attempts

    def log(self, stage: str) -> str:
        """The log of a stage's present or last attempt."""
        try:
            return (self.folder / "logs" / f"{stage}.log").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def slurm_logs(self) -> dict[str, str]:
        """What SLURM kept of the jobs that did not succeed, by job id."""
        paths = (self.folder / "logs" / "slurm").rglob("*.log")
        return {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in paths}

    def last_step(self, stage: str) -> int:
        """The newest step in the log of a training's present attempt."""
        found = STEP_LINE.findall(self.log(stage))
        return int(found[-1][1]) if found else 0

    def resumed_step(self, stage: str) -> int:
        """The step at which the last attempt of a training went on."""
        found = re.findall(r"resumed at step (\d+) of", self.log(stage))
        return int(found[-1]) if found else 0

    def seconds_per_step(self, stage: str) -> float:
        """Pace of a finished training, without its start."""
        lines = STEP_LINE.findall(self.log(stage))
        (first, start), (last, end) = lines[0], lines[-1]
        form = "%Y-%m-%d %H:%M:%S,%f"
        elapsed = datetime.strptime(last, form) - datetime.strptime(first, form)
        return elapsed.total_seconds() / (int(end) - int(start))
