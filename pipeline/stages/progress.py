"""How far a pass over images is, in the job's log."""

import time
from collections.abc import Callable
from typing import Any

from pipeline.stages.base import Job


class Progress:
    """Logs a pass's progress at most every 30 seconds."""

    def __init__(self, job: Job[Any], name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self.name, self.clock = job, name, clock
        self.last = clock()

    def __call__(self, done: int, total: int) -> None:
        """Note that `done` of `total` images are finished."""
        now = self.clock()
        if now - self.last >= 30 or done == total:
            self.last = now
            self.run.log.info("%s: %d of %d images", self.name, done, total)
