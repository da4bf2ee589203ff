"""Random numbers of networks (initial weights, dropout) as pure functions of the seed and the place of use.

Nothing has to be kept in a training state: the numbers of step i are the same whoever computes it, and when.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import numpy as np
import torch


def derived_seed(seed: int, tag: str, *place: int) -> int:
    """Mix a seed, what the numbers are for, and non-negative integers that say where, into 63 bits."""
    words = np.random.SeedSequence([seed, crc32(tag.encode()), *place]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


@contextmanager
def seeded(seed: int, tag: str, *place: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch inside the context, and give back the state of its generators afterwards.

    `device`: the GPU in use, if any, whose generator is given back too.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derived_seed(seed, tag, *place))
        yield
