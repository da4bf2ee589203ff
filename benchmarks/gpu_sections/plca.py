"""Section `plca`: the step at paper size, by precision and by the size of the association's blocks."""

import statistics
from typing import Any

from gpu_sections.harness import Record, Scale, free_memory, peak_mib
from gpu_sections.trainings import METHODS, network_of, train, train_parameters

VARIANTS = (("float32", 512), ("bfloat16", 512), ("bfloat16", 4096), ("float32", 4096))


def plca(record: Record, scale: Scale) -> None:
    """The real loop, deterministic as shipped, 8 images of each domain in 2 micro-batches."""
    for precision, block_rows in VARIANTS:
        record.attempt(
            f"exact {precision}, blocks of {block_rows}",
            lambda precision=precision, block_rows=block_rows: step(scale, precision, block_rows),
        )


def step(scale: Scale, precision: str, block_rows: int) -> dict[str, Any]:
    """Median step and the peak of memory."""
    free_memory()
    parameters = train_parameters(
        "plca",
        precision,
        steps=scale.plca_steps + 2,
        batch=scale.plca_batch,
        accumulation=2,
        optimiser={"lr": 2.5e-4, "head_lr_mult": 1.0},
        objective={**METHODS["plca"][1], "block_rows": block_rows},
    )
    sizes = {"source": scale.plca, "target": scale.plca}
    network = network_of(scale.deep_plca)
    done = train(network, parameters, sizes, scale, "exact", precision, warm_up=1)
    return {"ms": statistics.median(done.step_ms), "peak_mib": peak_mib(scale.device)}
