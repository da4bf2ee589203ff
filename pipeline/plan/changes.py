"""Why a stage would run though one like it has finished: what differs between the two, value by value."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pipeline.plan.finished import Finished
from pipeline.plan.former import as_now
from pipeline.plan.hashed_parameters import HashedParameters, shortened, shown_name
from pipeline.plan.stage import Stage

SHOWN = 3
"""Changes that a line names; it counts the others."""


class Changes:
    """Compares stages with what has finished; each finished artifact is looked at once."""

    def __init__(self, finished: Finished) -> None:
        self._finished = finished
        self._of_label = cache(self._read)

    def of(self, stage: Stage) -> str | None:
        """What differs from the finished artifact of the same word, task and seed that differs in the fewest values.

        None where there is none, or where it differs in what it was made from alone.
        """
        hashed = stage.record.hashed
        mine = HashedParameters(stage.kind, hashed["parameters"])
        values = cache(lambda theirs: _values(mine, theirs))  # a sweep has many stages with the same ones
        found = []
        for before, theirs in self._of_label(stage.kind, stage.rule, stage.label):
            then = as_now(before, hashed)
            if then["parameters"] is not before["parameters"]:
                theirs = HashedParameters(stage.kind, then["parameters"])
            found.append(([*_around(hashed, then), *values(theirs)], then["parents"]))
        fewest = min((len(changes) for changes, _ in found), default=0)
        # Of those that differ in as much, the one that was made from the same.
        alike = [(changes, parents) for changes, parents in found if len(changes) == fewest]
        nearest, _ = min(alike, key=lambda one: _differing(hashed["parents"], one[1]), default=([], {}))
        further = [f"and {len(nearest) - SHOWN} more"] if len(nearest) > SHOWN else []
        return "; ".join(nearest[:SHOWN] + further) or None

    def _read(self, kind: str, rule: str, label: str) -> list[tuple[dict[str, Any], HashedParameters]]:
        found = self._finished.of_label(rule, label)
        once: dict[str, HashedParameters] = {}
        return [
            (
                hashed,
                once.setdefault(repr(hashed["parameters"]), HashedParameters(kind, hashed["parameters"])),
            )
            for hashed in found
        ]


def _around(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """What differs besides parameters and parents."""
    if now["version"] != before["version"]:
        yield f"version changed: {before['version']} to {now['version']}"
    if now.get("data") != before.get("data"):
        yield "data changed"
    new, old = now.get("taxonomy", {}), before.get("taxonomy", {})
    if new != old:
        names = sorted(key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
        yield f"taxonomy changed: {', '.join(names)}"


def _values(now: HashedParameters, before: HashedParameters) -> list[str]:
    return [
        f"{shown_name(path)}: {shortened(before.value(path))} -> {shortened(now.value(path))}"
        for path in now.differing(before)
    ]


def _differing(now: Mapping[str, str], before: Mapping[str, str]) -> int:
    """How many parents are others."""
    return len({role for role, _ in now.items() ^ before.items()})
