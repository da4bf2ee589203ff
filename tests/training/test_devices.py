"""The device that a setting means here, and what `exact` sets."""

import os

import pytest
import torch

from pipeline.training import devices, leases
from pipeline.training.devices import (
    choose_device,
    choose_devices,
    configure_determinism,
    device_kind,
    worker_count,
)
from pipeline.training.leases import DeviceError


@pytest.fixture(autouse=True)
def no_leases(monkeypatch):
    monkeypatch.setattr(leases, "_held", {})
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def machine(monkeypatch, gpus, usable=True):
    """Pretend a machine with so many GPUs; torch sees those that CUDA_VISIBLE_DEVICES names."""

    def seen():
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        return gpus if named is None else len([gpu for gpu in named.split(",") if gpu])

    monkeypatch.setattr(devices, "count_gpus", lambda: gpus)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable and seen() > 0)
    monkeypatch.setattr(torch.cuda, "device_count", seen)


def test_the_cpu_on_request_leases_nothing(monkeypatch, tmp_path):
    machine(monkeypatch, 2)
    assert choose_devices("cpu", 2, tmp_path / "leases") == [torch.device("cpu")] * 2
    assert not (tmp_path / "leases").exists()


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch, tmp_path, caplog):
    machine(monkeypatch, 0)
    assert choose_device("auto", tmp_path) == torch.device("cpu")
    assert caplog.text == ""


def test_auto_leases_a_gpu_and_gives_the_same_again(monkeypatch, tmp_path):
    machine(monkeypatch, 2)
    assert choose_device("auto", tmp_path) == torch.device("cuda:0")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert choose_device("auto", tmp_path) == torch.device("cuda:0")
    assert leases.held() == [0]


def test_a_numbered_gpu_is_leased_and_becomes_the_only_one(monkeypatch, tmp_path):
    machine(monkeypatch, 4)
    for _ in range(2):
        assert choose_device("cuda:3", tmp_path) == torch.device("cuda:0")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_several_processes_get_distinct_gpus(monkeypatch, tmp_path):
    machine(monkeypatch, 4)
    assert choose_devices("cuda", 3, tmp_path) == [torch.device("cuda", rank) for rank in range(3)]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2"


def test_a_schedulers_choice_is_respected(monkeypatch, tmp_path):
    machine(monkeypatch, 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert choose_device("auto", tmp_path) == torch.device("cuda:0")
    assert choose_device("cuda:1", tmp_path) == torch.device("cuda:1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
    assert leases.held() == []


def test_a_scheduler_that_gives_no_gpu_means_the_cpu(monkeypatch, tmp_path, caplog):
    machine(monkeypatch, 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device("auto", tmp_path) == torch.device("cpu")
    assert caplog.text == ""


@pytest.mark.parametrize(("setting", "count"), [("cuda:4", 1), ("auto", 3), ("cuda", 3)])
def test_more_than_there_is_names_the_numbers(monkeypatch, tmp_path, setting, count):
    machine(monkeypatch, 2)
    with pytest.raises(DeviceError, match=f"{setting} with {count} processes, but 2 GPUs are visible"):
        choose_devices(setting, count, tmp_path)


def test_cuda_without_a_gpu_says_what_to_do(monkeypatch, tmp_path):
    machine(monkeypatch, 0)
    with pytest.raises(DeviceError, match=r"run\.device: cuda.*device: cpu"):
        choose_device("cuda", tmp_path)


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch, tmp_path, caplog):
    machine(monkeypatch, 1, usable=False)
    assert choose_device("auto", tmp_path) == torch.device("cpu")
    assert "cannot use it" in caplog.text


@pytest.mark.parametrize(
    ("device", "cores", "gpus", "workers"),
    [("cpu", 16, 0, 1), ("cuda", 16, 1, 8), ("cuda", 12, 4, 3), ("cuda", 2, 4, 1)],
)
def test_workers_are_a_devices_share_of_the_cores(monkeypatch, device, cores, gpus, workers):
    monkeypatch.setattr(devices, "job_cores", lambda: cores)
    monkeypatch.setattr(devices, "count_gpus", lambda: gpus)
    assert worker_count(None, torch.device(device)) == workers
    assert worker_count(0, torch.device(device)) == 0


def test_the_kind_of_a_cpu_names_its_instructions():
    assert device_kind(torch.device("cpu")) == f"cpu {torch.backends.cpu.get_cpu_capability()}"


@pytest.fixture
def settings_come_back(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    threads = torch.get_num_threads()
    yield
    configure_determinism(False, threads)
    torch.backends.cudnn.benchmark = False


def test_exact_and_fast(settings_come_back):
    configure_determinism(True, 1)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    configure_determinism(False, 2)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
