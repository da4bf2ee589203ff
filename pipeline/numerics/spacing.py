"""Which of many items stand for all of them."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items at even distances, all of them for 0 or when there are no more."""
    if count == 0 or count >= len(items):
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]
