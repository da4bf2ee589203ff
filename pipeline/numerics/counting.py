"""Counting integers in tables on the device, without waiting for it.

`torch.bincount` reads the largest value on the host to size its result. Counts are integers: they add up to the
same bits in any order.
"""

import torch
from torch import Tensor


def count_places(table: Tensor, places: Tensor, weight: Tensor | None = None) -> None:
    """Add 1, or `weight`, at each of `places` to an int64 table, in place.

    `places`: int32 or int64 of any shape, positions in the flattened, contiguous table; one outside is an error
    on the CPU and a device assertion elsewhere. `weight`: int64 of that shape.
    """
    flat = places.reshape(-1)
    added = table.new_ones(()).expand(flat.shape) if weight is None else weight.reshape(-1)
    table.view(-1).index_add_(0, flat, added)


def class_pixels(labels: Tensor, length: int) -> Tensor:
    """Count the pixels of each label: integers in [0, length) of any shape -> int64 (length,)."""
    table = torch.zeros(length, dtype=torch.int64, device=labels.device)
    count_places(table, labels.int())
    return table
