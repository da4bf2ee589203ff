"""Which device a stage computes on, and how reproducibly."""

import logging
import os
from pathlib import Path

import torch

from pipeline.artifacts.cores import MOST, job_cores
from pipeline.training.leases import VISIBLE, DeviceError, count_gpus, default_folder, held, lease_gpus

_log = logging.getLogger(__name__)


def choose_device(setting: str, lease_folder: Path | None = None) -> torch.device:
    """The device for the run setting `device`: auto (a GPU if there is one), cpu, cuda or cuda:N.

    Leases a GPU on the first call; later calls give the same one. DeviceError says what to do when there is
    none or all are taken.
    """
    return choose_devices(setting, 1, lease_folder)[0]


def choose_devices(setting: str, count: int, lease_folder: Path | None = None) -> list[torch.device]:
    """`count` distinct devices for as many processes; on the CPU they share it."""
    if setting != "cpu" and torch.backends.cuda.is_built():
        candidates = [gpu for gpu in range(count_gpus()) if setting in ("auto", "cuda", f"cuda:{gpu}")]
        if len(candidates) >= count:
            lease_gpus(candidates, count, lease_folder or default_folder())
    if setting == "cpu" or not torch.cuda.is_available():
        return _processors(setting, count)
    return _visible_gpus(setting, count)


def _processors(setting: str, count: int) -> list[torch.device]:
    visible = os.environ.get(VISIBLE)
    if setting not in ("cpu", "auto"):
        raise DeviceError(
            f"run.device: {setting}, but torch {torch.__version__} has no GPU here ({VISIBLE}={visible}); "
            "check `nvidia-smi` and that torch is built for its CUDA version, or set `device: cpu`"
        )
    if setting == "auto" and visible != "" and count_gpus():
        _log.warning("there is a GPU but torch %s cannot use it; computing on the CPU", torch.__version__)
    return [torch.device("cpu")] * count


def _visible_gpus(setting: str, count: int) -> list[torch.device]:
    """GPUs by their number among the visible ones; where some are leased CUDA sees no others."""
    first = 0 if held() or ":" not in setting else int(setting.partition(":")[2])
    present = torch.cuda.device_count()
    if first + count > present:
        raise DeviceError(
            f"run.device: {setting} with {count} processes, but {present} GPUs are visible "
            f"({VISIBLE}={os.environ.get(VISIBLE)}); ask for fewer, or let the job have more"
        )
    return [torch.device("cuda", first + rank) for rank in range(count)]


def worker_count(setting: int | None, device: torch.device) -> int:
    """Processes that load a training's images: `run: workers`, else one on a CPU and a GPU's share of the cores."""
    if setting is not None:
        return setting
    return 1 if device.type == "cpu" else max(1, min(MOST, job_cores() // max(1, count_gpus())))


def device_kind(device: torch.device) -> str:
    """What decides the bits besides the software: the GPU's model, or the CPU's vector instructions."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


def configure_determinism(exact: bool, threads: int) -> None:
    """Set torch up for `determinism: exact` (same bits each time) or `fast`, on `threads` CPU threads.

    Exact: deterministic algorithms only (an operation without one raises), fixed cuDNN kernels.
    Must come before CUDA is first used, for cuBLAS reads its workspace setting once.
    See https://docs.pytorch.org/docs/stable/notes/randomness.html.
    """
    if exact:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(exact, warn_only=False)
    # Filling every new tensor with NaN is a debugging aid that costs a pass over memory each time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = exact
    torch.backends.cudnn.benchmark = not exact
    torch.backends.mkldnn.deterministic = exact  # type: ignore[assignment]
