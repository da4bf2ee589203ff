"""Cores of a job: the smallest of what affinity, control group and SLURM say."""

import os

import pytest

from pipeline.artifacts import cores
from pipeline.artifacts.cores import has_quick_bfloat16, job_cores, shared_cores, thread_count


@pytest.fixture(autouse=True)
def _sixteen(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


@pytest.mark.parametrize(
    ("files", "environment", "found"),
    [
        ({}, {}, 16),
        ({"cpu.max": "max 100000\n"}, {}, 16),
        ({"cpu.max": "250000 100000\n"}, {}, 3),
        ({"cpu.max": "1000 100000\n"}, {}, 1),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, {}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, {}, 16),
        ({"cpu.max": "800000 100000\n"}, {"SLURM_CPUS_PER_TASK": "6"}, 6),
        ({}, {"SLURM_CPUS_PER_TASK": "40"}, 16),
    ],
)
def test_the_narrowest_limit_counts(tmp_path, files, environment, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert job_cores(environment, tmp_path) == found


def test_a_system_without_affinity_has_the_machines_cores(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert job_cores({}, tmp_path) == 5


@pytest.mark.parametrize(("has", "fast"), [(1, 1), (5, 5), (16, 8)])
def test_threads_follow_the_cores_where_they_change_no_promised_bit(monkeypatch, has, fast):
    monkeypatch.setattr(cores, "job_cores", lambda: has)
    assert (thread_count(None, exact=True), thread_count(None, exact=False)) == (2, fast)
    assert thread_count(3, exact=True) == thread_count(3, exact=False) == 3
    assert shared_cores() == fast


def test_bfloat16_is_quick_where_the_processor_says_so(tmp_path):
    flags = tmp_path / "cpuinfo"
    assert not has_quick_bfloat16(flags)
    flags.write_text("flags\t\t: fpu avx512_bf16 amx_tile\n")
    assert not has_quick_bfloat16(flags)
    flags.write_text("flags\t\t: fpu amx_bf16 avx512_bf16 amx_tile\n")
    assert has_quick_bfloat16(flags)
