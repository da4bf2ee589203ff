"""Which image a slot of a step shows: a pure function, so that a resumed training replays nothing."""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.numerics.randomness import permutation, tag

Sampling = Literal["epoch", "replicated"]


def sample_index(
    seed: int, domain: str, step: int, slot: int, batch: int, count: int, mode: Sampling, draws: int = 0
) -> int:
    """The index, 0..count-1, of the image in slot `slot` (0..batch-1) of step `step` of a domain.

    `epoch`: every image once before any comes again, in a new order each epoch. `replicated`: the list is
    repeated until it covers `draws` images (all steps of the schedule times `batch`) and shuffled once, which
    is close to drawing with replacement; beyond `draws` a new shuffle begins (Tsai 2018, released code).
    The order costs O(list) once per epoch or shuffle, not per step. ValueError without images: an empty
    domain has no samples and is left out by the caller.
    """
    if count < 1:
        raise ValueError(f"domain {domain} has no images to sample from")
    position = step * batch + slot
    copies = 1 if mode == "epoch" else max(1, -(-draws // count))
    order = _order(seed, domain, position // (count * copies), count * copies)
    return int(order[position % (count * copies)]) % count


@lru_cache(maxsize=8)
def _order(seed: int, domain: str, epoch: int, length: int) -> NDArray[np.int64]:
    return permutation([seed, tag(f"order/{domain}"), epoch], length)
