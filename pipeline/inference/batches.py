"""How many images a pass gives to the network at once, and how they lie in memory."""

import math
from dataclasses import dataclass

import torch

from pipeline.numerics import Size

MOST = 16
"""Images that a GPU is given at once at most; more make no forward pass quicker."""
BYTES_PER_PIXEL = 2048
"""Of an input pixel during a forward pass. ResNet-101 at stride 8 in float32 takes some 600, logits included."""


@dataclass(frozen=True)
class Batching:
    """`most`: images read at once; chunks of a pass are cut at multiples of it. `budget`: bytes for them."""

    most: int
    budget: float
    memory_format: torch.memory_format

    def fitting(self, size: Size) -> int:
        """Return how many images of a size go into one forward pass, at least 1."""
        return max(1, int(min(self.most, self.budget / (size[0] * size[1] * BYTES_PER_PIXEL))))


def batching(batch: int | None, device: torch.device) -> Batching:
    """Batches of `batch` images, or for None what suits the device.

    A given batch belongs to the bits of a result, so it is kept whatever its memory, in plain layout. Left free,
    a GPU gets as many images as half of its free memory holds, channels last; a CPU, which gains nothing by
    more, one.
    """
    if batch is not None:
        return Batching(batch, math.inf, torch.contiguous_format)
    if device.type != "cuda":
        return Batching(1, math.inf, torch.contiguous_format)
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return Batching(MOST, (free + unused) / 2, torch.channels_last)
