"""`start --slurm` asks `sbatch` for what `run: gpus` needs; a script stands for `sbatch` and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny import EXPERIMENT, REPOSITORY, RUN, write_config

from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.stages.runner import run_stage

SBATCH = """#!/bin/sh
printf '%s\\n' "$*" >> "$ASKED"
echo refused >&2
exit 1
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with prepared data, a profile that tries once, and the script in front of all other programs."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, EXPERIMENT, {**RUN, "gpus": 2, "threads": 3})
    runs = Planner(load_config()).plan()
    write_stage_files(load_config(), runs)
    for stage in in_order(stage for run in runs for stage in run.all_stages()):
        if stage.kind == "prepare":
            assert run_stage(tmp_path / f"results/stages/{stage.key}.json", None) == 0
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/profile.yaml").read_text("utf-8"))
    profile |= {"retries": 0, "keep-going": False}
    del profile["default-resources"]["slurm_account"]  # there is no accounting
    (tmp_path / "profiles/slurm").mkdir(parents=True)
    (tmp_path / "profiles/slurm/profile.yaml").write_text(yaml.safe_dump(profile))
    for program in ("sbatch", "sinfo", "squeue", "sacct", "sacctmgr"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / program).write_text(SBATCH if program == "sbatch" else "#!/bin/sh\n")
        (tmp_path / "bin" / program).chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_a_training_on_two_gpus_asks_for_them_and_for_their_cores(project):
    env = {
        **os.environ,
        "ASKED": str(project / "asked"),
        "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "pipeline", "start", "--slurm", "--verbose"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    asked = [line for line in Path("asked").read_text("utf-8").splitlines() if "rule_pretrain" in line]
    assert asked, done.stdout + done.stderr
    for word in ("--gpus=2", "--cpus-per-task=6", "--mem 32000", "-t 720", "-p gpu", "--signal=USR1@300"):
        assert f"{word} " in asked[0].replace("'", ""), asked[0]
    assert not json.loads(Path("results/stages/reports.json").read_text()).get("runs")
