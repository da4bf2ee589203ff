"""Which image a slot of a step shows: a pure function, so that a resumed training replays nothing."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.numerics.randomness import permutation, tag

Sampling = Literal["epoch", "replicated"]


@dataclass(frozen=True)
class SampleOrder:
    """The order in which a training of `batch` images per step and domain sees a domain's images.

    `epoch`: every image once before any comes again, in a new order each epoch. `replicated`: the list is
    repeated until it covers `draws` images (all steps of the schedule times `batch`) and shuffled once, which
    is close to drawing with replacement; beyond `draws` a new shuffle begins (Tsai 2018, released code).
    ValueError for `replicated` without `draws`.
    """

    seed: int
    batch: int
    mode: Sampling = "epoch"
    draws: int = 0

    def __post_init__(self) -> None:
        if self.mode == "replicated" and self.draws < 1:
            raise ValueError("mode `replicated` needs `draws`: steps of the schedule times the batch")

    def index(self, domain: str, count: int, step: int, slot: int) -> int:
        """The index, 0..count-1, of the image in slot `slot` (0..batch-1) of step `step` of a domain.

        The order costs O(list) once per epoch or shuffle, not per step. ValueError without images: an empty
        domain has no samples and is left out by the caller.
        """
        if count < 1:
            raise ValueError(f"domain {domain} has no images to sample from")
        position = step * self.batch + slot
        length = count * (1 if self.mode == "epoch" else max(1, -(-self.draws // count)))
        return int(_order(self.seed, domain, position // length, length)[position % length]) % count


@lru_cache(maxsize=8)
def _order(seed: int, domain: str, epoch: int, length: int) -> NDArray[np.int64]:
    return permutation([seed, tag(f"order/{domain}"), epoch], length)
