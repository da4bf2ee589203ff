"""What `init` says of time: the trainings of the suite it wrote, at its working size and at smaller ones.

A few steps are made on noise of that size. Smaller sizes are not measured: a step's time is taken as its pixels'.
"""

import os
import time
from collections.abc import Iterator

from pipeline.artifacts.cores import job_cores
from pipeline.commands.cost import GIB
from pipeline.commands.measured_cost import pace_of
from pipeline.numerics import WidthHeight
from pipeline.plan.run import PlannedRun
from pipeline.report.costs import duration

SECONDS = 20.0
"""In all, starting the processes included."""
SHARES = (0.75, 0.5)
"""Smaller working sizes that are offered: their sides, as shares of the written ones."""
SMALLEST = 64


def time_lines(run: PlannedRun, size: WidthHeight) -> Iterator[str]:
    """Measure the trainings of a run, and say how long they take at its working size and at smaller ones."""
    yield f"\nmeasuring a few training steps here, {SECONDS:.0f} s at most (--no-measure leaves it out) ..."
    until = time.monotonic() + SECONDS
    whole, memory, left = 0.0, 0, len(run.trained)
    for name, stage in run.trained.items():
        most, left = (until - time.monotonic()) / left, left - 1
        pace = pace_of(stage, most / 2, most)
        seconds = pace.seconds(stage)
        if pace.measured is None or seconds is None:
            yield f"time:   not known, {name}: {pace.reason}{_busy()}; try a smaller --size"
            return
        whole, memory = whole + seconds, max(memory, pace.measured.memory)
    shown = f"{size[0]}x{size[1]}"
    yield (
        f"time:   about {duration(whole)} for the trainings of `{run.experiment}` at {shown}, {memory / GIB:.1f} GiB of "
        f"memory{_busy()}"
    )
    smaller = [
        f"{duration(whole * _pixels(one) / _pixels(size))} at {one[0]}x{one[1]}"
        for one in smaller_sizes(size)
    ]
    if smaller:
        yield f"        about {', '.join(smaller)}: the same command with --size WIDTH HEIGHT --force"


def _busy() -> str:
    """Say that others compute here, where they do."""
    load, cores = os.getloadavg()[0], job_cores()
    return f" (the machine is busy: load {load:.0f} on {cores} cores)" if load > 1.5 * cores else ""


def smaller_sizes(size: WidthHeight) -> list[WidthHeight]:
    """Sizes of about the same proportions in multiples of 8, no side below 64."""
    scaled = [tuple(round(share * side / 8) * 8 for side in size) for share in SHARES]
    return [(width, height) for width, height in scaled if min(width, height) >= SMALLEST]


def _pixels(size: WidthHeight) -> int:
    return size[0] * size[1]
