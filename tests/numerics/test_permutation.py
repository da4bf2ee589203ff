"""A permutation that no version of NumPy may change."""

import numpy as np

from pipeline.numerics.permutation import frozen_permutation


def test_the_order_is_frozen() -> None:
    assert frozen_permutation([7, 3], 10).tolist() == [2, 4, 7, 3, 5, 1, 8, 9, 0, 6]


def test_every_number_comes_once_and_another_key_gives_another_order() -> None:
    first, second = frozen_permutation([1], 1000), frozen_permutation([2], 1000)
    assert first.dtype == np.int64
    assert sorted(first) == sorted(second) == list(range(1000))
    assert (first != second).any()


def test_of_nothing_or_one() -> None:
    assert frozen_permutation([1], 0).tolist() == []
    assert frozen_permutation([1], 1).tolist() == [0]
