"""Sections `device`, `start` and `methods`: what the machine can do at best, and whether every method makes a step."""

import os
import platform
import subprocess
import sys
from typing import get_args

import torch
from torch.backends import cudnn

from gpu_sections.harness import MIB, Record, Scale, median_ms
from gpu_sections.trainings import METHODS, Determinism, network_of, set_up, train, train_parameters
from pipeline.numerics import Precision
from pipeline.numerics.precision import products

MODES: tuple[tuple[Determinism, str], ...] = (
    ("exact", "float32"),
    ("exact", "bfloat16"),
    ("fast", "bfloat16"),
)


def device(record: Record, scale: Scale) -> None:
    """Name the machine, and measure its ceilings: matrix products and copies."""
    record.attempt("software", software)
    if scale.device.type == "cuda":
        facts = torch.cuda.get_device_properties(scale.device)
        record.row(
            "gpu",
            name=facts.name,
            memory_mib=facts.total_memory / MIB,
            processors=facts.multi_processor_count,
        )
    set_up("fast", scale)
    for precision in get_args(Precision):
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        with products(precision):
            record.attempt(f"matmul {precision}", lambda dtype=dtype: matmul_ceiling(scale, dtype))
    record.attempt("copy", lambda: copy_bandwidth(scale))


def software() -> dict[str, object]:
    """Versions and cores."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def matmul_ceiling(scale: Scale, dtype: torch.dtype) -> dict[str, float]:
    """Square matrix product, in 10^12 operations a second."""
    side = scale.matrix
    left, right = (torch.randn(side, side, device=scale.device, dtype=dtype) for _ in range(2))
    taken = median_ms(lambda: left @ right, scale.device, repeats=10)
    return {"tflops": 2 * side**3 / taken / 1e9, "ms": taken}


def copy_bandwidth(scale: Scale) -> dict[str, float]:
    """Read and write of device memory in GB/s."""
    source = torch.empty(scale.copied, dtype=torch.uint8, device=scale.device)
    target = torch.empty_like(source)
    taken = median_ms(lambda: target.copy_(source), scale.device, repeats=10)
    return {"gb_per_second": 2 * scale.copied / taken / 1e6, "ms": taken}


START = """
import time
marks = [("started", time.perf_counter())]
def mark(name):
    marks.append((name, time.perf_counter()))
import torch
mark("import torch")
import pipeline.stages.train
mark("import the stage")
from pipeline.training.devices import choose_device, worker_count
device = choose_device("auto")
mark("device chosen")
worker_count(None, device)
mark("workers counted")
x = torch.ones(8, 8, device=device)
mark("first tensor")
(x @ x).sum().item()
mark("first product")
torch.nn.functional.conv2d(torch.ones(1, 8, 32, 32, device=device), torch.ones(8, 8, 3, 3, device=device)).sum().item()
mark("first convolution")
for (_, before), (name, now) in zip(marks, marks[1:]):
    print(f"{name}={now - before:.3f}")
"""
"""What every job on a GPU does before its own work."""


def start(record: Record, scale: Scale) -> None:
    """Seconds of each part of a job's start, in a process of its own, twice."""
    for number in (1, 2):
        record.attempt(f"start {number}", started)


def started() -> dict[str, object]:
    """Seconds by part."""
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    parts = (line.split("=") for line in done.stdout.split("\n") if "=" in line)
    return {name: float(value) for name, value in parts}


def methods(record: Record, scale: Scale) -> None:
    """Two steps of the real loop, for every method, network, determinism and precision."""
    sizes = {"source": scale.crop, "target": scale.crop}
    for network in (scale.deep, "mobilenet"):
        for determinism, precision in MODES:
            for method in METHODS:

                def steps(
                    network: str = network,
                    method: str = method,
                    determinism: Determinism = determinism,
                    precision: str = precision,
                ) -> dict[str, object]:
                    parameters = train_parameters(method, precision, steps=2)
                    done = train(network_of(network), parameters, sizes, scale, determinism)
                    return {"finite": True, "terms": len(done.values)}

                record.attempt(f"{network} {method} {determinism} {precision}", steps)
