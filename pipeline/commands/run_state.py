"""What `start` knows of a run while it goes on: which stages there are, which work, and how long the rest will take."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.artifacts.errors import Interrupted
from pipeline.training.progress import shown_time

TRAINING = "train"
"""The kind whose stages take time by their steps."""
SHOWN_FACTS = slice(1, 3)
"""Of a training's facts: behind the learning rate, its first two losses."""


@dataclass(frozen=True)
class Waiting:
    """A stage to run: what people call it, its kind, and the steps of a training, 1 of any other."""

    what: str
    kind: str
    size: int = 1


@dataclass
class Working:
    """A stage that works: when it began and told its first progress, how far it is, and what it said."""

    what: str
    began: float
    first: tuple[float, int] | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    facts: str = ""
    said: str = ""
    ended: float | None = None
    code: int = 0

    def progress(self, now: float, event: Mapping[str, Any]) -> None:
        """Note how far it is; another unit of work, such as the next pass over the images, counts anew."""
        if (
            self.first is None
            or (self.total, self.unit) != (event["total"], event["unit"])
            or event["done"] < self.done
        ):
            self.first = (now, event["done"])
        self.done, self.total, self.unit = event["done"], event["total"], event["unit"]
        self.facts = "  ".join(event.get("facts", "").split("  ")[SHOWN_FACTS])

    def pace(self, now: float) -> float | None:
        """Seconds per unit; None before there was one."""
        if self.first is None or self.done <= self.first[1]:
            return None
        return (now - self.first[0]) / (self.done - self.first[1])

    def left(self, now: float) -> float | None:
        """Seconds that the rest will take; None where nothing is known."""
        pace = self.pace(now)
        return None if pace is None else pace * (self.total - self.done)


@dataclass
class RunState:
    """A run: `plan`, the stages to run by key; the events move them to `working` and to `ended`.

    `asked_to_stop`: whoever watches knows why stages stop.
    """

    plan: Mapping[str, Waiting]
    clock: Callable[[], float] = time.monotonic
    working: dict[str, Working] = field(default_factory=dict)
    ended: dict[str, Working] = field(default_factory=dict)
    asked_to_stop: bool = False

    def take(self, event: Mapping[str, Any]) -> Working | None:
        """Note one event; the stage that it ended, if so."""
        key, now = event["key"], self.clock()
        if event["event"] == "begin":
            name = self.plan[key].what if key in self.plan else key
            self.working[key] = Working(name, now)
            return None
        stage = self.working.get(key)
        if stage is None:
            return None
        if event["event"] == "progress":
            stage.progress(now, event)
        elif event["event"] == "say":
            stage.said = event["message"]
        elif event["event"] == "end":
            stage.ended, stage.code = now, event["code"]
            self.ended[key] = self.working.pop(key)
            return stage
        return None

    @property
    def finished(self) -> int:
        """Planned stages that have ended well."""
        return sum(stage.code == 0 for key, stage in self.ended.items() if key in self.plan)

    def left(self) -> float | None:
        """Seconds until the end if one stage works at a time, from what stages of each kind took; None: not known.

        A kind of which none has ended is taken for one like the others, but a training only for a training.
        """
        paces, now = self._paces(), self.clock()
        others = [pace for key, pace in paces.items() if key != TRAINING]
        total = 0.0
        for key, waiting in self.plan.items():
            if key in self.ended:
                continue
            known = self.working[key].left(now) if key in self.working else None
            if known is None:
                pace = paces.get(waiting.kind)
                if pace is None and waiting.kind != TRAINING and others:
                    pace = sum(others) / len(others)
                if pace is None:
                    return None
                spent = now - self.working[key].began if key in self.working else 0.0
                known = max(0.0, pace * waiting.size - spent)
            total += known
        return total

    def _paces(self) -> dict[str, float]:
        """Seconds per size of each kind: of the last one that ended, else of a training that works."""
        paces: dict[str, float] = {}
        for key, stage in self.working.items():
            pace = stage.pace(self.clock())
            if key in self.plan and self.plan[key].kind == TRAINING and pace is not None:
                paces[TRAINING] = pace
        for key, stage in self.ended.items():
            if key in self.plan and stage.code == 0 and stage.ended is not None:
                paces[self.plan[key].kind] = (stage.ended - stage.began) / self.plan[key].size
        return paces

    def facts(self, stage: Working) -> str:
        """How far a stage is, at which pace, its losses, and the time left."""
        now = self.clock()
        parts = [f"{stage.done} of {stage.total} {stage.unit}"] if stage.total else []
        pace, left = stage.pace(now), stage.left(now)
        if pace is not None:
            parts.append(f"{pace:.2g} s/{stage.unit.removesuffix('s')}")
        if stage.facts:
            parts.append(stage.facts)
        if left is not None:
            parts.append(f"{shown_time(left)} left")
        return ", ".join(parts) or f"{shown_time(now - stage.began)} so far"

    def whole(self) -> str:
        """How far the run is."""
        left = self.left()
        rest = "time left not known yet" if left is None else f"about {shown_time(left)} left"
        return f"{self.finished} of {len(self.plan)} stages, {rest}"

    def ending(self, stage: Working) -> str:
        """One line for a stage that has ended."""
        took = shown_time((stage.ended or 0.0) - stage.began)
        if stage.code == 0:
            what = f"{stage.total} {stage.unit} in {took}" if stage.total else f"in {took}"
            return f"{stage.what}: {what}" + (f", {stage.facts}" if stage.facts else "")
        if stage.code == Interrupted.EXIT_CODE:
            place = f" at step {stage.done} of {stage.total}" if stage.unit == "steps" else ""
            why = "" if self.asked_to_stop else f" ({stage.said})"
            return f"{stage.what}: stopped{place}{why}, saved; the same command goes on from there"
        return f"{stage.what}: failed after {took}: {stage.said}"
