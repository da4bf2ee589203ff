"""Section `plca`: the step at paper size, by precision."""

import statistics
from typing import Any

from gpu_sections.harness import Record, Scale, free_memory, peak_mib
from gpu_sections.trainings import METHODS, network_of, train, train_parameters
from pipeline.numerics import Precision

PRECISIONS: tuple[Precision, ...] = ("tf32", "bfloat16")


def plca(record: Record, scale: Scale) -> None:
    """The real loop, deterministic as shipped, 8 images of each domain in 2 micro-batches."""
    for precision in PRECISIONS:
        record.attempt(f"exact {precision}", lambda precision=precision: step(scale, precision))


def step(scale: Scale, precision: Precision) -> dict[str, Any]:
    """Median step and the peak of memory."""
    free_memory()
    parameters = train_parameters(
        "plca",
        precision,
        steps=scale.plca_steps + 2,
        batch=scale.plca_batch,
        accumulation=2,
        optimiser={"lr": 2.5e-4, "head_lr_mult": 1.0},
        objective=METHODS["plca"][1],
    )
    sizes = {"source": scale.plca, "target": scale.plca}
    network = network_of(scale.deep_plca)
    done = train(network, parameters, sizes, scale, "exact", warm_up=1)
    return {"ms": statistics.median(done.step_ms), "peak_mib": peak_mib(scale.device)}
