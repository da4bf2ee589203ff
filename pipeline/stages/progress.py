"""How far a pass over images is: in the job's log, and for whoever waits for the job."""

import time
from collections.abc import Callable
from typing import Any

from pipeline.artifacts.events import tell
from pipeline.stages.base import Job

LOG_SECONDS = 30.0
TELL_SECONDS = 0.5


class Progress:
    """Logs a pass's progress at most every 30 seconds, and tells it twice a second."""

    def __init__(self, job: Job[Any], name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self.name, self.clock = job, name, clock
        self.last = self.told = clock()

    def __call__(self, done: int, total: int) -> None:
        """Note that `done` of `total` images are finished."""
        now = self.clock()
        if now - self.told >= TELL_SECONDS:
            self.told = now
            tell(self.run.key, "progress", done=done, total=total, unit="images")
        if now - self.last >= LOG_SECONDS or done == total:
            self.last = now
            self.run.log.info("%s: %d of %d images", self.name, done, total)
