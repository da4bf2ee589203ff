"""Draws, orders and seeds that no version of Python, NumPy or torch may change."""

import random

import numpy as np
import pytest
import torch

from pipeline.numerics.randomness import (
    derived_seed,
    permutation,
    seeded,
    seeded_weights,
    settled_order,
    shuffled,
)


def test_the_order_is_frozen() -> None:
    assert permutation([7, 3], 10).tolist() == [2, 4, 7, 3, 5, 1, 8, 9, 0, 6]


def test_every_number_comes_once_and_another_key_gives_another_order() -> None:
    first, second = permutation([1], 1000), permutation([2], 1000)
    assert first.dtype == np.int64
    assert sorted(first) == sorted(second) == list(range(1000))
    assert (first != second).any()


def test_of_nothing_or_one() -> None:
    assert permutation([1], 0).tolist() == []
    assert permutation([1], 1).tolist() == [0]


def test_shuffled_names_are_in_the_order_that_keys_depend_on() -> None:
    names = [str(number) for number in range(10)]
    assert shuffled(names, 3) == ["1", "5", "6", "0", "9", "4", "7", "2", "8", "3"]
    assert names == sorted(names)


def test_settled_order_is_the_one_that_published_suggestions_depend_on() -> None:
    assert settled_order([0, 10], 10) == [1, 4, 7, 6, 2, 9, 3, 5, 0, 8]


def test_written_out_orders_are_those_of_the_libraries_they_were_taken_from() -> None:
    for count in (0, 1, 2, 3, 65, 257, 1000):
        numbers = list(map(str, range(count)))
        other = list(numbers)
        random.Random(count).shuffle(other)
        assert shuffled(numbers, count) == other
        assert (
            settled_order([5, count], count) == np.random.default_rng([5, count]).permutation(count).tolist()
        )


def test_seeds_are_frozen() -> None:
    assert derived_seed(3, "draws", 1) == 4103025526793825507
    before = torch.random.get_rng_state()
    with seeded_weights(3):
        assert torch.rand(1).item() == pytest.approx(0.3914635181427002, abs=0)
    with seeded(3, "modules"):
        torch.rand(1)
    assert torch.equal(torch.random.get_rng_state(), before)
