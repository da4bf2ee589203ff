"""What long work asks while it goes on: whether to stop, and whom to say how far it is."""

from collections.abc import Callable
from dataclasses import dataclass


def never() -> None:
    """Give no reason to stop."""
    return


def silent(done: int, total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Control:
    """`stop`: a reason to stop, or None to go on. `progress`: called with what is done and what there is to do."""

    stop: Callable[[], str | None] = never
    progress: Callable[[int, int], None] = silent


ALONE = Control()
"""Of work that nobody stops or watches."""
