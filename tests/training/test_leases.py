"""Jobs side by side get distinct GPUs, a killed job's GPU is free again, a scheduler's choice stands."""

import os
import subprocess
import sys

import pytest

from pipeline.training import leases
from pipeline.training.leases import DeviceError, count_gpus, gpus_have_bfloat16, held, lease_gpus


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def no_leases(monkeypatch):
    monkeypatch.setattr(leases, "_held", {})
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")  # so that what the test sets is undone
        monkeypatch.delenv(name)


def lease(candidates, count, folder):
    clock = Clock()
    lease_gpus(candidates, count, folder, clock=clock, sleep=clock.sleep)


JOB = """
import os, sys
from pathlib import Path
from pipeline.training.leases import lease_gpus
lease_gpus([int(gpu) for gpu in sys.argv[2].split(",")], int(sys.argv[3]), Path(sys.argv[1]))
assert "torch" not in sys.modules
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


class Job:
    """Another process that leases GPUs and keeps them until it is killed."""

    def __init__(self, folder, candidates, count=1):
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(folder), candidates, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.gpus = self.process.stdout.readline().strip()

    def kill(self):
        self.process.kill()
        self.process.communicate()


def test_side_by_side_each_job_gets_its_own(tmp_path):
    jobs = [Job(tmp_path, "0,1,2"), Job(tmp_path, "0,1,2")]
    try:
        lease([0, 1, 2], 1, tmp_path)
        assert sorted([*(job.gpus for job in jobs), os.environ["CUDA_VISIBLE_DEVICES"]]) == ["0", "1", "2"]
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        assert held() == [int(os.environ["CUDA_VISIBLE_DEVICES"])]
    finally:
        for job in jobs:
            job.kill()


def test_when_all_are_taken_it_waits_and_says_what_to_do(tmp_path):
    job = Job(tmp_path, "0,1", 1)
    try:
        with pytest.raises(DeviceError, match=r"1 of the GPUs \[0, 1\] are free, 2 are needed.*gpu=N"):
            lease([0, 1], 2, tmp_path)
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
        lease([0, 1], 1, tmp_path)  # the failed attempt holds nothing back
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    finally:
        job.kill()


def test_a_killed_jobs_gpu_is_free_at_once(tmp_path):
    job = Job(tmp_path, "0")
    job.kill()
    lease([0], 1, tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_it_goes_on_when_one_becomes_free_in_time(tmp_path):
    job = Job(tmp_path, "0")
    clock = Clock()

    def sleep(seconds):
        clock.now += seconds
        if clock.now == 10:
            job.kill()

    lease_gpus([0], 1, tmp_path, clock=clock, sleep=sleep)
    assert clock.now == 10
    assert held() == [0]


def test_several_are_shown_in_order(tmp_path):
    lease([0, 1, 2], 2, tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize("chosen", ["3", ""])
def test_a_schedulers_choice_stands(tmp_path, monkeypatch, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    lease([0], 1, tmp_path / "folder")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen
    assert held() == []
    assert not (tmp_path / "folder").exists()


def test_gpus_are_counted_by_the_driver(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho '  MIG 1g.10gb'\necho 'GPU 1: A (UUID: y)'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert count_gpus() == 2
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert count_gpus() == 0


@pytest.mark.parametrize("hiding", ["", "-1", "NoDevFiles"])
def test_gpus_that_are_hidden_are_none_and_the_driver_is_not_asked(monkeypatch, hiding):
    monkeypatch.setattr(leases, "_told_by_driver", lambda *question: pytest.fail("asked"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hiding)
    assert count_gpus() == 0 and gpus_have_bfloat16() is None


def hangs(words, **options):
    raise subprocess.TimeoutExpired(words, options["timeout"])


def no_program(words, **options):
    raise OSError(8, "Exec format error")


@pytest.mark.parametrize(
    ("run", "words"), [(hangs, "timed out after 60 seconds"), (no_program, "Exec format error")]
)
def test_a_driver_that_does_not_answer_is_told(monkeypatch, run, words):
    monkeypatch.setattr(leases.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(leases.subprocess, "run", run)
    with pytest.raises(DeviceError, match=rf"nvidia-smi: .*{words}.*CUDA_VISIBLE_DEVICES="):
        count_gpus()


@pytest.mark.parametrize(
    ("capabilities", "quick"),
    [(["9.0", "8.0"], True), (["8.9", "7.5"], False), (["[N/A]"], False), ([], False)],
)
def test_bfloat16_is_quick_where_every_gpu_multiplies_it(tmp_path, monkeypatch, capabilities, quick):
    program = tmp_path / "nvidia-smi"
    answer = "\n".join(capabilities)
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && echo "GPU 0: NVIDIA" || printf "{answer}\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus_have_bfloat16() is quick


def test_without_a_gpu_nothing_is_said_of_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_have_bfloat16() is None
