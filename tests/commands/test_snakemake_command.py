"""The command line of Snakemake: the options that were typed, and what stages share on this machine."""

import sys
from pathlib import Path

import pytest
from workflows import options

from pipeline.artifacts.errors import ConfigError
from pipeline.commands import snakemake_command as snakemake_words
from pipeline.commands.snakemake_command import snakemake_command
from pipeline.config.shipped import shipped
from pipeline.training import leases


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A project's folder, on a machine without GPUs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "Snakefile").touch()
    machine(monkeypatch, 0)


def machine(monkeypatch, gpus):
    """Let the driver show so many GPUs."""
    monkeypatch.setattr(leases, "_told_by_driver", lambda *question: [f"GPU {n}: A" for n in range(gpus)])


def test_snakemake_gets_the_options(here):
    choice = {"config": ["determinism=fast"], "only": ["x", "y*"], "seeds": ["0", "1"]}
    command = snakemake_command(options(configfile=["a.yaml", "b.yaml"], **choice))
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    assert command[3:] == [
        "--resources", "gpu=2", "--cores", "2", "--configfile", "a.yaml", "b.yaml",
        "--config", "determinism=fast", "only=x,y*", "seeds=0,1",
    ]  # fmt: skip


def test_a_folder_without_a_snakefile_has_the_packages(here):
    Path("Snakefile").unlink()
    command = snakemake_command(options(configfile=["config/demo.yaml"]))
    assert command[7:9] == ["--snakefile", str(shipped("Snakefile"))]
    assert command[9:] == ["--configfile", str(shipped("config/demo.yaml"))]


def test_a_profile_says_how_to_run_unless_cores_are_given(here):
    command = snakemake_command(options(profile="slurm", cores=None))
    counted = snakemake_command(options(profile="slurm"))
    profile = ["--workflow-profile", str(shipped("profiles/slurm"))]
    assert (command[3:], counted[3:]) == (profile, [*profile, "--cores", "2"])


@pytest.mark.parametrize(
    ("found", "chosen", "cores", "shared"),
    [
        (4, None, "16", "4"),
        (0, None, "16", "16"),
        (0, None, None, "6"),
        (4, "2,3", "16", "1"),
        (4, "", "16", "16"),
        (4, "-1", "16", "16"),
        (4, "NoDevFiles", "16", "16"),
    ],
)
def test_as_many_stages_share_the_machine_as_it_has_gpus_or_else_cores(
    here, monkeypatch, found, chosen, cores, shared
):
    machine(monkeypatch, found)
    monkeypatch.setattr(snakemake_words, "job_cores", lambda: 6)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    command = snakemake_command(options(cores=cores))
    assert command[3:5] == ["--resources", f"gpu={shared}"]


@pytest.mark.parametrize(
    "written", ["{gpu: 1, mem_mb: 32000}", "[gpu=1, mem_mb=32000]", "gpu=1 mem_mb=32000"]
)
def test_what_else_the_profile_of_this_machine_limits_stays(here, monkeypatch, written):
    machine(monkeypatch, 2)
    Path("profiles/default").mkdir(parents=True)
    Path("profiles/default/profile.yaml").write_text(f"resources: {written}\n")
    command = snakemake_command(options())
    assert command[3:6] == ["--resources", "gpu=2", "mem_mb=32000"]


@pytest.mark.parametrize("written", ["[gpu]", "3"])
def test_limits_that_are_none_are_told(here, written):
    Path("profiles/default").mkdir(parents=True)
    Path("profiles/default/profile.yaml").write_text(f"resources: {written}\n")
    with pytest.raises(ConfigError, match=r"profile.yaml: resources: found .* needs names and values"):
        snakemake_command(options())


def test_dotted_assignments_reach_snakemake_nested(here):
    command = snakemake_command(options(config=["run.device=cpu", "only=x", "run.workers=0"]))
    assert command[command.index("--config") + 1 :] == [
        "only=x",
        'run={"device": "cpu", "workers": "0"}',
    ]
