"""Permutations that are the same under every version of NumPy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def frozen_permutation(key: Sequence[int], count: int) -> NDArray[np.int64]:
    """Draw the numbers 0..count-1 in random order, int64 (count,); equal keys give equal orders.

    `key`: non-negative integers. NumPy freezes a bit generator's raw stream, but not the algorithms of its
    distributions, so the order is that of raw numbers.
    """
    raw = np.random.PCG64(list(key)).random_raw(count)
    return np.argsort(raw, kind="stable").astype(np.int64, copy=False)
