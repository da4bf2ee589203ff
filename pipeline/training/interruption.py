"""Why a stage should stop soon: a signal, the scheduler's time limit, a parent process that has gone.

    with Interruption(runtime_minutes=settings.runtime_minutes) as interruption:
        for step in steps:
            ...
            if reason := interruption.reason():  # after a step, so that even a tiny budget makes progress
                save_state()
                raise Interrupted(reason)

Nothing happens inside a signal handler but a note; the loop reads it where its state is whole.
"""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from pipeline.artifacts.processes import process_age
from pipeline.artifacts.signals import SIGNALS

MARGIN = 60.0  # seconds kept free before the deadline unless the caller knows better
SAME_DELIVERY = 5.0  # seconds; at its time limit SLURM sends SIGTERM to a step twice


class Interruption:
    """Handlers for SIGTERM, SIGINT and SIGUSR1 for the life of a `with` block in the main thread.

    The budget of `runtime_minutes` counts from the start of the process. It ends `margin()` seconds early,
    but half of it is always used; the owner may replace `margin` once it knows how long saving takes. A
    second signal ends the process at once with the shell's code 128 + n. Two do not count as that: SIGUSR1,
    which only warns that SIGTERM is coming, and SIGTERM again within 5 s, which is how SLURM delivers it.
    """

    def __init__(
        self,
        runtime_minutes: float | None = None,
        margin: Callable[[], float] = lambda: MARGIN,
        *,
        clock: Callable[[], float] = time.monotonic,
        age: Callable[[], float] = process_age,
        parent: Callable[[], int] = os.getppid,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        self.margin = margin
        self._clock = clock
        self._parent = parent
        self._end = end
        self._first_parent = parent()
        self._budget = None if runtime_minutes is None else 60.0 * runtime_minutes
        self._started = clock() - age()
        self._describe: tuple[int, float] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers; what was there comes back at the end."""
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def reason(self) -> str | None:
        """Why to stop, or None; cheap enough for every step."""
        if self._describe is not None:
            return f"received {signal.Signals(self._describe[0]).name}"
        if self._parent() != self._first_parent:
            return "the process that started this stage has gone"
        if self._budget is not None and self._clock() >= self._deadline(self._budget):
            return f"the runtime of {self._budget / 60:g} minutes is nearly used up"
        return None

    def _deadline(self, budget: float) -> float:
        return self._started + budget - min(self.margin(), budget / 2)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = self._clock()
        first, since = self._describe or (signal.SIGUSR1, now)
        if number == signal.SIGUSR1:
            self._describe = self._describe or (number, now)
        elif first == signal.SIGUSR1:
            self._describe = (number, now)
        elif not (number == first == signal.SIGTERM and now - since < SAME_DELIVERY):
            self._end(128 + number)
