"""Items that stand for many: at even distances, all of them where there are few."""

import pytest

from pipeline.numerics.spacing import evenly_spaced


@pytest.mark.parametrize(
    ("items", "count", "chosen"),
    [
        (9, 3, [0, 3, 6]),
        (10, 4, [0, 2, 5, 7]),
        (3, 3, [0, 1, 2]),
        (3, 5, [0, 1, 2]),
        (3, 0, [0, 1, 2]),
        (0, 4, []),
    ],
)
def test_distances_are_even(items, count, chosen):
    assert evenly_spaced(range(items), count) == chosen
