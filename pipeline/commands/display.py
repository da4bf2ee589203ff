"""What a run of `start` shows: live bars on a terminal, else a plain line for each stage that ends.

Snakemake's own output, and that of the jobs, goes to a log file. Where a stage takes long, a plain line says each minute
how far it is.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from pipeline.artifacts.events import EventFile
from pipeline.artifacts.files import make_folder
from pipeline.commands.run_state import RunState, Waiting, Working

LOG = Path("logs/start.log")
EVENTS = Path("logs/start.events")
LINE_SECONDS = 60.0
TAIL = 15


class _Surface(Protocol):
    """Where a state is drawn."""

    def line(self, text: str) -> None:
        """Write a line that stays."""

    def draw(self, state: RunState) -> None:
        """Show how far the run is."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class PlainLines:
    """Lines only; while no stage ends, one a minute."""

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.last = clock()

    def line(self, text: str) -> None:
        """Write a line."""
        self.last = self.clock()
        print(text, file=self.stream, flush=True)

    def draw(self, state: RunState) -> None:
        """Say how far the working stages and the run are, if nothing was said for a minute."""
        if state.working and self.clock() - self.last >= LINE_SECONDS:
            stages = "; ".join(f"{stage.what}: {state.facts(stage)}" for stage in state.working.values())
            self.line(f"  {stages}; {state.whole()}")

    def close(self) -> None:
        """Nothing is left to do."""


class LiveBars:
    """A bar for the run and one for each working stage, below the lines that stay."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"),
            console=console, transient=True,
        )  # fmt: skip
        self.whole = self.progress.add_task("all stages", facts="")
        self.tasks: dict[str, TaskID] = {}
        self.progress.start()

    def line(self, text: str) -> None:
        """Write a line above the bars."""
        self.progress.console.print(Text(text), soft_wrap=True)

    def draw(self, state: RunState) -> None:
        """Bring the bars up to date."""
        for key in self.tasks.keys() - state.working.keys():
            self.progress.remove_task(self.tasks.pop(key))
        for key, stage in state.working.items():
            if key not in self.tasks:
                self.tasks[key] = self.progress.add_task(_escaped(stage.what), facts="")
            self.progress.update(
                self.tasks[key],
                completed=stage.done,
                total=stage.total or None,
                facts=_escaped(state.facts(stage)),
            )
        self.progress.update(self.whole, completed=state.finished, total=len(state.plan), facts=state.whole())

    def close(self) -> None:
        """Remove the bars."""
        self.progress.stop()


def _escaped(text: str) -> str:
    """Text that rich takes as it is."""
    return text.replace("[", r"\[")


class Watch:
    """Shows a run while Snakemake works; `output`: the log for what Snakemake and the jobs write."""

    def __init__(self, plan: Mapping[str, Waiting], surface: _Surface, folder: Path = Path()) -> None:
        self.state, self.surface, self.log = RunState(plan), surface, folder / LOG
        make_folder(self.log.parent)
        self.output: IO[str] = self.log.open("a", encoding="utf-8")
        self.began = self.output.tell()
        self.events = EventFile(folder / EVENTS)

    def __enter__(self) -> Self:
        return self

    def look(self) -> None:
        """Take the new events, and draw."""
        for event in self.events.new():
            self._take(event)
        self.surface.draw(self.state)

    def stopping(self) -> None:
        """Note that the run was asked to stop."""
        self.state.asked_to_stop = True

    def _take(self, event: Mapping[str, Any]) -> None:
        ended = self.state.take(event)
        if ended is not None:
            if event["key"] in self.state.plan:
                count = f"{self.state.finished:>{len(str(len(self.state.plan)))}}/{len(self.state.plan)}"
                self.surface.line(f"{count} {self.state.ending(ended)}")
            elif ended.code:
                self.surface.line(self.state.ending(ended))
        elif event["event"] == "begin" and event["key"].startswith("report-"):
            self.surface.line(f"making the page of {event['key'].removeprefix('report-')}")
        elif event["event"] == "say" and event["level"] == "WARNING":
            self.surface.line(f"warning: {_name(self.state, event['key'])}: {event['message']}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self.look()
            self.surface.close()
        self.events.close()
        self.output.close()

    def failure(self) -> str:
        """What to say of a Snakemake that failed: where its log lies and, if no stage says why, how that ends."""
        if any(stage.code for stage in self.state.ended.values()) and not self.state.working:
            return f"failed; the log: {self.log}, and logs/RULE/KEY.log of each stage"
        with self.log.open("rb") as file:
            file.seek(self.began)
            tail = file.read().decode("utf-8", "replace").splitlines()[-TAIL:]
        died = [stage.what for stage in self.state.working.values()]
        lines = [f"{what}: ended without a word; was it killed?" for what in died]
        return "\n".join(
            [*lines, f"Snakemake failed; the end of {self.log}:", *(f"  {line}" for line in tail)]
        )


def _name(state: RunState, key: str) -> str:
    stage: Working | None = state.working.get(key)
    return stage.what if stage else key
