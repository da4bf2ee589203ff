"""Progress of a training: a bar when one job runs, else a line per 30 s; plain lines in the log."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

from pipeline.artifacts.events import tell

FILE_ONLY: dict[str, Any] = {"file_only": True}
"""`extra=` of log records that a terminal handler with `TerminalFilter` leaves to the log file."""

LINE_SECONDS = 30.0
TELL_SECONDS = 0.5


class TerminalFilter(logging.Filter):
    """For the terminal's handler: drops the records that are meant for the log file alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a record unless it is marked `FILE_ONLY`."""
        return not getattr(record, "file_only", False)


def shown_time(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Progress:
    """Times steps, and tells the terminal and the log how far a training is.

    `bar`: this is the only job, so that a bar fights with no other output; drawn only on a terminal.
    `log`: None for a process that stays silent.
    """

    def __init__(
        self,
        label: str,
        total: int,
        log: logging.Logger | None,
        *,
        bar: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label, self.total, self.log, self.bar, self.clock = label, total, log, bar, clock
        self.stream = sys.stderr if stream is None else stream
        self._bar: Any = None
        self._facts = ""
        self._count_from(0)

    def begin(self, start: int) -> None:
        """Show that a training begins of which `start` steps were finished before."""
        self._count_from(start)
        if self.log is None:
            return
        self._tell()
        if start:
            self.log.info("resumed at step %d of %d", start, self.total)
        if self.bar and self.stream.isatty():
            self._bar = tqdm(
                total=self.total,
                initial=start,
                desc=self.label,
                unit="step",
                file=self.stream,
                leave=False,
            )

    def _count_from(self, start: int) -> None:
        self.start = self.done = start
        self.waited = 0.0
        self.began = self.last_line = self.told = self.clock()
        self._window = (start, self.began, 0.0)

    def advance(self, done: int, waited: float) -> None:
        """Note `done` finished steps; the last one waited `waited` seconds for its images."""
        self.done = done
        self.waited += waited
        if self.log is not None and self.clock() - self.told >= TELL_SECONDS:
            self._tell()
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif self.log is not None and self.clock() - self.last_line >= LINE_SECONDS:
            self.last_line = self.clock()
            print(f"[{self.label}] step {done}/{self.total}, ETA {self.eta()}", file=self.stream, flush=True)

    def _tell(self) -> None:
        self.told = self.clock()
        tell(self.label, "progress", done=self.done, total=self.total, unit="steps", facts=self._facts)

    def eta(self) -> str:
        """Return the time that the remaining steps will take, from this process's own speed."""
        finished = self.done - self.start
        if finished == 0:
            return "unknown"
        return shown_time((self.clock() - self.began) / finished * (self.total - self.done))

    def report(self, facts: str) -> None:
        """Write a line to the log: `facts`, pace and data-wait share since the last one, ETA."""
        now = self.clock()
        steps_before, time_before, waited_before = self._window
        self._window = (self.done, now, self.waited)
        if self.log is None:
            return
        self._facts = facts
        self._tell()
        elapsed = now - time_before
        share = (self.waited - waited_before) / elapsed if elapsed > 0 else 0.0
        pace = elapsed / max(1, self.done - steps_before)
        self.log.info(
            "step %d/%d  %s  %.3f s/step  data wait %.0f %%  ETA %s",
            *(self.done, self.total, facts, pace, 100 * share, self.eta()),
            extra=FILE_ONLY,
        )

    def warn(self, message: str, *values: object) -> None:
        """Write a warning to the log."""
        if self.log is not None:
            self.log.warning(message, *values)

    def close(self) -> None:
        """Say how far it got, and remove the bar."""
        if self.log is not None:
            self._tell()
        if self._bar is not None:
            self._bar.close()
