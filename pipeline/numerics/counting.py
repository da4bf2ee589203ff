"""Counting integers in tables on the device, without waiting for it.

`torch.bincount` reads the largest value on the host to size its result. Counts are integers: they add up to the
same bits in any order.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def count_places(table: Tensor, places: Tensor, weight: Tensor | None = None) -> None:
    """Add 1, or `weight`, at each of `places` to an int64 table, in place.

    `places`: int32 or int64 of any shape, positions in the flattened, contiguous table; one outside is an error
    on the CPU and a device assertion elsewhere. `weight`: int64 of that shape.
    """
    flat = places.reshape(-1)
    added = table.new_ones(()).expand(flat.shape) if weight is None else weight.reshape(-1)
    with _any_order():
        table.view(-1).index_add_(0, flat, added)


@contextmanager
def _any_order() -> Iterator[None]:
    """Let a GPU add in any order inside: under deterministic algorithms it would sort first, 70 times as slow."""
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warn_only)


def class_pixels(labels: Tensor, length: int) -> Tensor:
    """Count the pixels of each label: integers in [0, length) of any shape -> int64 (length,)."""
    table = torch.zeros(length, dtype=torch.int64, device=labels.device)
    count_places(table, labels.int())
    return table
