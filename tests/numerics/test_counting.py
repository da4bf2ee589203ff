"""Counting on the device: whole numbers add up to the same bits in any order, so determinism costs them nothing."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from pipeline.numerics.counting import count_places


class Adding(TorchFunctionMode):
    """Notes whether deterministic algorithms are asked for while numbers are added."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function.__name__ == "index_add_":
            self.seen.append(torch.are_deterministic_algorithms_enabled())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("exact", "warn_only"), [(True, False), (True, True), (False, False)])
def test_numbers_are_added_in_any_order_and_determinism_comes_back(exact, warn_only):
    table = torch.zeros(3, dtype=torch.int64)
    torch.use_deterministic_algorithms(exact, warn_only=warn_only)
    try:
        with Adding() as adding:
            count_places(table, torch.tensor([0, 2, 2]))
        after = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
    finally:
        torch.use_deterministic_algorithms(False)
    assert table.tolist() == [1, 0, 2]
    assert adding.seen == [False]
    assert after == (exact, warn_only)
