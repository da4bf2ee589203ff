"""Sections `device` and `methods`: what the machine can do at best, and whether every method makes a step."""

import os
import platform

import torch
from torch.backends import cudnn

from gpu_sections.harness import MIB, Record, Scale, median_ms
from gpu_sections.trainings import METHODS, Determinism, network_of, set_up, train, train_parameters

MODES: tuple[tuple[Determinism, str], ...] = (
    ("exact", "float32"),
    ("exact", "bfloat16"),
    ("fast", "bfloat16"),
    ("fast", "float32"),
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
    for name, dtype in (("bfloat16", torch.bfloat16), ("tf32", torch.float32)):
        record.attempt(f"matmul {name}", lambda dtype=dtype: matmul_ceiling(scale, dtype))
    set_up("exact", scale)
    record.attempt("matmul float32", lambda: matmul_ceiling(scale, torch.float32))
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
