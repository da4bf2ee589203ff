"""The log of a job: a file, shorter lines on the terminal, and errors that become exit codes."""

import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.artifacts.errors import Interrupted, SegadaptError
from pipeline.artifacts.events import tell
from pipeline.training.progress import TerminalFilter


def open_log(key: str, path: Path | None) -> logging.Logger:
    """A logger with plain lines to the job's log file, if any, and, shorter, to the terminal."""
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"[{key}] %(message)s"))
    terminal.addFilter(TerminalFilter())
    if path is None:
        return _logger(terminal, _Telling(key))
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8", errors="surrogateescape")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return _logger(file, terminal, _Telling(key))


class _Telling(logging.Handler):
    """Tells warnings and errors to whoever waits for the job."""

    def __init__(self, key: str) -> None:
        super().__init__(logging.WARNING)
        self.key = key

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the first line."""
        tell(self.key, "say", level=record.levelname, message=record.getMessage().partition("\n")[0])


def no_log() -> logging.Logger:
    """A logger for a process that another one speaks for."""
    return _logger(logging.NullHandler())


def _logger(*handlers: logging.Handler) -> logging.Logger:
    # Everything below `pipeline` logs through the same handlers: a lost lock or a damaged state is news too.
    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = list(handlers)
    return logger.getChild("job")


class Ending:
    """Around a job's work: an error is logged instead of raised, and becomes the job's exit code.

    `code`: 0 finished, 75 stopped with its state saved, 1 failed.
    """

    def __init__(self, key: str, log: logging.Logger) -> None:
        self.key, self.log = key, log
        self.code = 0

    def __enter__(self) -> Self:
        tell(self.key, "begin")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Log an error and keep its code; what is no error, such as SystemExit, goes on."""
        handled = self._log(error)
        tell(self.key, "end", code=self.code)
        return handled

    def _log(self, error: BaseException | None) -> bool:
        if not isinstance(error, Exception):
            return False
        if isinstance(error, Interrupted):
            self.log.info("stopped (%s); the state is saved, the same command goes on from it", error)
            tell(self.key, "say", level="INFO", message=str(error))
            self.code = Interrupted.EXIT_CODE
            return True
        if isinstance(error, SegadaptError):
            self.log.error("%s", error)
        else:
            text = "".join(traceback.format_exception(error))
            self.log.error("unexpected error; please report it with this log\n%s", text)
        self.code = 1
        return True
