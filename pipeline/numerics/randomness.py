"""The one home of seeds, draws and permutations: every random number is a pure function of its key.

Nothing has to be kept in a training state: the numbers of step i are the same whoever computes it, and when.
NumPy freezes a bit generator's raw stream and `SeedSequence`, Python the Mersenne twister behind
`random.Random.random`; neither freezes the algorithms on top. All of those that keys or artifacts depend on
are written out here, and frozen by tests.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def tag(text: str) -> int:
    """A word as a number that can be part of a key."""
    return crc32(text.encode())


class Draws:
    """Random draws of one key, made of 53-bit uniform numbers only. Keys are non-negative integers."""

    BLOCK = 512

    def __init__(self, key: Sequence[int]) -> None:
        self._bits = np.random.PCG64(list(key))
        self._numbers: Iterator[float] = iter(())

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number of [low, high)."""
        number = next(self._numbers, None)
        if number is None:
            raw = self._bits.random_raw(self.BLOCK) >> np.uint64(11)
            self._numbers = iter((raw.astype(np.float64) / 9007199254740992.0).tolist())
            number = next(self._numbers)
        return low + (high - low) * number

    def chance(self, probability: float) -> bool:
        """True with the given probability; never at 0, always at 1."""
        return self.uniform() < probability

    def below(self, count: int) -> int:
        """A whole number of 0..count-1."""
        return min(count - 1, int(self.uniform() * count))

    def between(self, low: int, high: int) -> int:
        """A whole number of low..high, both included."""
        return low + self.below(high - low + 1)

    def tint(self) -> int:
        """A whole number of 0..255."""
        return self.below(256)

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        """Uniform uint8 numbers of the given shape."""
        count = int(np.prod(shape))
        raw = self._bits.random_raw((count + 7) // 8).astype("<u8")
        return raw.view(np.uint8)[:count].reshape(shape)


def permutation(key: Sequence[int], count: int) -> NDArray[np.int64]:
    """Draw the numbers 0..count-1 in random order, int64 (count,). `key`: non-negative integers."""
    raw = np.random.PCG64(list(key)).random_raw(count)
    return np.argsort(raw, kind="stable").astype(np.int64, copy=False)


def shuffled(names: Sequence[str], seed: int) -> list[str]:
    """The names in random order: Fisher and Yates over bits of the Mersenne twister.

    The order is that of Python 3.11's `random.Random(seed).shuffle`: keys of stages depend on it.
    """
    order, bits = list(names), random.Random(seed)
    for last in range(len(order) - 1, 0, -1):
        count = last + 1
        other = bits.getrandbits(count.bit_length())
        while other >= count:
            other = bits.getrandbits(count.bit_length())
        order[last], order[other] = order[other], order[last]
    return order


def settled_order(key: Sequence[int], count: int) -> list[int]:
    """Draw the numbers 0..count-1 in random order: Fisher and Yates over masked 32-bit words.

    The order is that of NumPy 2.4's `default_rng(key).permutation(count)`: published suggestions depend on it.
    """
    bits, words = np.random.PCG64(list(key)), list[int]()

    def word() -> int:
        if not words:
            raw = int(bits.random_raw())
            words.extend((raw >> 32, raw & 0xFFFFFFFF))
        return words.pop()

    order = list(range(count))
    for last in range(count - 1, 0, -1):
        mask = 2 ** last.bit_length() - 1
        other = word() & mask
        while other > last:
            other = word() & mask
        order[last], order[other] = order[other], order[last]
    return order


def derived_seed(seed: int, purpose: str, *place: int) -> int:
    """Mix a seed, what the numbers are for, and non-negative integers that say where, into 63 bits."""
    words = np.random.SeedSequence([seed, tag(purpose), *place]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


@contextmanager
def seeded(seed: int, purpose: str, *place: int, device: "torch.device | None" = None) -> Iterator[None]:
    """Seed torch inside the context, and give back the state of its generators afterwards.

    `device`: the GPU in use, if any, whose generator is given back too.
    """
    import torch

    devices = [] if device is None or device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derived_seed(seed, purpose, *place))
        yield


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw a network's initial weights from torch's CPU generator inside the context; no GPU is touched."""
    import torch

    state = np.random.SeedSequence([seed, tag("network")]).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would reseed the accelerators too.
        torch.default_generator.manual_seed(int(state[0]))
        yield
