"""Snakemake for `start` and `suggest`, in a main process that stops at once.

Snakemake and its stages are a process group of their own, so a signal reaches this process alone. Snakemake waits
for its jobs, for hours; so it is killed, which costs it nothing, and the stages are asked to save and to end.
"""

import argparse
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, Any, Protocol, TextIO

from pipeline.artifacts.owners import LockedError, clear_lock
from pipeline.artifacts.processes import group_lives
from pipeline.artifacts.program import PROGRAM, program
from pipeline.commands.profiles import Profile
from pipeline.commands.run_lock import RunLock
from pipeline.commands.snakemake_command import snakemake_command

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_POLL = 0.1  # seconds between two looks at stages that are ending
_LOOK = 0.25  # seconds between two looks at how far the stages are


class Watcher(Protocol):
    """Shows how far a run is; `output`: the file for what Snakemake and the stages write."""

    output: IO[str]

    def look(self) -> None:
        """Take and show what is new; called several times a second."""

    def stopping(self) -> None:
        """Note that the run was asked to stop; called inside a signal handler."""


def run_workflow(
    arguments: argparse.Namespace, lock: RunLock, *targets: str, watch: Watcher | None = None
) -> int:
    """Run Snakemake for these files, or for everything; its exit code, or 128 + n when signal n stopped it or us.

    `arguments`: `configfile`, `config`, `profile` and `cores` as on the command line. `lock`: that of `nobody_else`.
    `watch`: who shows how far the run is; without one Snakemake writes to the terminal.
    """
    group = _group(arguments)
    words = [*snakemake_command(arguments), *(["--", *targets] if targets else [])]
    # Snakemake inherits the lock: while it lives, even without this process, no second run starts.
    code = group.run(words, lock.descriptor, watch)
    if group.stopped_by is None and code >= 0:
        return code
    with contextlib.suppress(LockedError):
        clear_lock()
    number = group.stopped_by or -code
    what = "stopped" if group.stopped_by else "Snakemake was ended"
    _say(
        f"{what} by {signal.Signals(number).name}: what has finished is kept; the same command goes on from there",
        sys.stderr,
    )
    return 128 + number


def _say(text: str, where: TextIO) -> None:
    """Print it where somebody still reads: a closed terminal must not keep what follows from being done."""
    with contextlib.suppress(OSError):
        print(text, file=where, flush=True)


class ProcessGroup:
    """A command and all that it starts, ended by the first signal that this process gets, and killed by the second.

    `stopped_by`: the first signal, None without one.
    """

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: Watcher | None = None

    _before_command: Callable[[], object] | None = None
    """What the new process does first."""

    def run(self, command: Sequence[str], inherited: int, watch: Watcher | None = None) -> int:
        """Run the command and wait until nothing of it is left; returns its exit code."""
        self._watch = watch
        output = None if watch is None else watch.output
        with _handling({**dict.fromkeys(ENDING, self._stop), signal.SIGTSTP: self._pause}):
            self._child = subprocess.Popen(
                command,
                pass_fds=[inherited],
                env={**os.environ, PROGRAM: program()},
                process_group=0,
                stdout=output,
                stderr=output,
                preexec_fn=self._before_command,
            )
            if self.stopped_by is not None:  # it came while the command was being started
                self._ask_to_end()
            code = self._ended()
            # The stages of a Snakemake that was killed save and end by themselves.
            while (self.stopped_by is not None or code < 0) and group_lives(self._child.pid):
                time.sleep(_POLL)
            if self._watch is not None:
                with contextlib.suppress(OSError):
                    self._watch.look()  # what the stages said at their end stands before what is said of the whole
        return code

    def _ended(self) -> int:
        """Wait for the command's own process, while somebody watches; its exit code."""
        assert self._child is not None
        while self._watch is not None:
            try:
                self._watch.look()
            except OSError:  # the terminal was closed, or nobody reads the pipe any more
                self._watch = None
                if self.stopped_by is None:
                    self._stop(signal.SIGHUP, None)
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._child.wait(_LOOK)
        return self._child.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if number == self.stopped_by == signal.SIGHUP:
            return  # a closed terminal is told by its signal and by what can no longer be written
        again, self.stopped_by = self.stopped_by is not None, self.stopped_by or number
        if self._watch is not None:
            self._watch.stopping()
        if again:
            self._send(signal.SIGKILL)
        elif self._child is not None:
            self._ask_to_end()

    def _ask_to_end(self) -> None:
        assert self._child is not None
        self._child.kill()
        self._send(signal.SIGTERM)
        _say("stopping; a second signal ends the running stages at once", sys.stdout)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the group is paused and goes on with this process."""
        self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)


class Sender(ProcessGroup):
    """A Snakemake whose stages run elsewhere: asked to end it calls them off, and waits until that is done."""

    # A script's background ignores SIGINT, which is what Snakemake calls jobs off at.
    _before_command = staticmethod(functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL))

    def _ask_to_end(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGINT)
        _say("stopping: the jobs are called off; a second signal leaves them alone", sys.stdout)


def _group(arguments: argparse.Namespace) -> ProcessGroup:
    sends = arguments.profile is not None and Profile.named(arguments.profile).sends_jobs
    return Sender() if sends else ProcessGroup()


@contextlib.contextmanager
def _handling(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Install signal handlers; what was ignored from the start (`nohup`, `&` in a script) stays ignored."""
    before = {number: signal.getsignal(number) for number in handlers}
    wanted = {number: act for number, act in handlers.items() if before[number] != signal.SIG_IGN}
    for number, act in wanted.items():
        signal.signal(number, act)
    try:
        yield
    finally:
        for number in wanted:
            signal.signal(number, before[number])
