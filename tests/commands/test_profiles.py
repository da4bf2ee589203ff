"""`--slurm` and `--profile`: which file that is, and what its jobs ask for."""

import pytest
from strangers import refused

from pipeline.__main__ import main
from pipeline.commands.profiles import Profile
from pipeline.config.shipped import shipped

OWN = """
executor: slurm
default-resources: {slurm_account: nobel, slurm_partition: long, runtime: 60}
set-resources:
  adapt: {runtime: 2d, gpu_model: a100, mem_mb: 90000}
  pretrain: {runtime: 90, gres: "gpu:a100:4", gpu: 0}
set-threads: {adapt: 40}
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(capsys, *words):
    assert main(["plan", *words]) == 0
    _, _, table = capsys.readouterr().out.partition("\n\n")
    return table.splitlines()


def test_plan_shows_what_eight_gpus_mean(capsys):
    lines = planned(capsys, "--slurm", "--config", "run.gpus=8", "set.train.batch=16")
    assert lines[0].startswith(
        f"what the jobs ask for, by {shipped('profiles/slurm/profile.yaml')}: slurm_account"
    )
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["adapt"] == ["2", "8", "16", "192", "GB", "24", "h"]
    assert rows["prepare"] == ["3", "0", "2", "4", "GB", "2", "h"]
    assert rows["split"] == ["1", "0", "1", "2", "GB", "0.17", "h"]


def test_a_plan_without_a_profile_asks_nobody(capsys):
    assert planned(capsys) == []


def test_the_projects_own_profile_comes_first_and_its_values_are_shown(project, capsys):
    (project / "profiles/slurm").mkdir(parents=True)
    (project / "profiles/slurm/profile.yaml").write_text(OWN)
    lines = planned(capsys, "--profile", "slurm", "--config", "run.gpus=4", "set.train.batch=8")
    assert lines[0].endswith("profiles/slurm/profile.yaml: slurm_account nobel, slurm_partition long")
    rows = {line.split()[0]: line.split(maxsplit=2)[2] for line in lines[2:]}
    assert rows["adapt"].split() == ["4", "40", "90", "GB", "48", "h", "gpu_model", "a100"]
    assert rows["pretrain"].split() == ["0", "8", "64", "GB", "1.5", "h", "gres", "gpu:a100:4"]


def test_a_profile_is_found_by_name_and_by_folder(project):
    assert Profile.named("slurm").sends_jobs and not Profile.named("default").sends_jobs
    (project / "mine").mkdir()
    (project / "mine/config.yaml").write_text("cores: 3\n")
    assert Profile.named("mine").values == {"cores": 3}


def test_one_that_is_not_there_is_refused_with_the_nearest(capsys):
    assert main(["plan", "--profile", "slrum"]) == 2
    refused(capsys, "--profile slrum", "did you mean `slurm`?")


def test_a_list_in_a_profile_is_refused(project, capsys):
    (project / "mine").mkdir()
    (project / "mine/profile.yaml").write_text('set-resources: ["adapt:gpu=2"]\n')
    assert main(["plan", "--profile", "mine"]) == 2
    refused(capsys, "mine/profile.yaml: set-resources: found a list")
