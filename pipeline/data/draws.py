"""Random numbers that are a pure function of a key: the source of all randomness in this room."""

from collections.abc import Iterator, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


def tag(text: str) -> int:
    """A word as a number that can be part of a key."""
    return crc32(text.encode())


class Draws:
    """Random draws of one key, made of 53-bit uniform numbers only.

    A bit generator's raw stream and `SeedSequence` are frozen by NumPy, the algorithms of its distributions
    are not; all that is drawn here is arithmetic on those uniform numbers. Keys are non-negative integers.
    """

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
