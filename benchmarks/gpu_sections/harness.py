"""What all sections share: sizes, a record of rows that survives a kill, and a stopwatch for the device."""

import gc
import json
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

MIB = 2**20


@dataclass(frozen=True)
class Scale:
    """How large the sections work: on a GPU at the sizes of the papers, on the CPU at toy size.

    `deep`, `deep_plca`: the networks of AdvEnt and PLCA, by their names in `trainings.NETWORKS`. Sizes are
    width and height in pixels, `grid` is the side of the association's grid.
    """

    device: torch.device
    threads: int
    deep: str
    deep_plca: str
    crop: tuple[int, int]
    camera: tuple[int, int]
    source: tuple[int, int]
    target: tuple[int, int]
    plca: tuple[int, int]
    plca_batch: int
    grid: int
    channels: int
    picture: tuple[int, int]
    pictures: int
    steps: int
    warm_up: int
    plca_steps: int
    matrix: int
    copied: int


def full_scale(threads: int) -> Scale:
    """The sizes of the papers, on the first GPU."""
    return Scale(
        device=torch.device("cuda", 0),
        threads=threads,
        deep="resnet101",
        deep_plca="resnet101-plca",
        crop=(128, 128),
        camera=(320, 240),
        source=(1280, 720),
        target=(1024, 512),
        plca=(730, 730),
        plca_batch=8,
        grid=92,
        channels=2048,
        picture=(2048, 1024),
        pictures=8,
        steps=20,
        warm_up=5,
        plca_steps=3,
        matrix=8192,
        copied=2**30,
    )


def toy_scale(threads: int) -> Scale:
    """The smallest sizes at which every line of the sections runs, on the CPU."""
    return Scale(
        device=torch.device("cpu"),
        threads=threads,
        deep="resnet18",
        deep_plca="resnet18-plca",
        crop=(64, 64),
        camera=(64, 64),
        source=(80, 64),
        target=(64, 64),
        plca=(64, 64),
        plca_batch=4,
        grid=8,
        channels=32,
        picture=(96, 64),
        pictures=3,
        steps=2,
        warm_up=1,
        plca_steps=1,
        matrix=64,
        copied=2**16,
    )


@dataclass
class Record:
    """Rows of one section; every new row is written at once, so that a killed section keeps what it had."""

    section: str
    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    tracebacks: dict[str, str] = field(default_factory=dict)

    def row(self, label: str, **values: Any) -> None:
        """Add, print and write a row."""
        self.rows.append({"label": label, **values})
        shown = "  ".join(f"{name}={_shown(value)}" for name, value in values.items())
        print(f"  {self.section}: {label}: {shown}", flush=True)
        self._write()

    def attempt(self, label: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any] | None:
        """Add the row of `measure`; where it raises, the row holds the error and None is returned."""
        started = time.perf_counter()
        try:
            values = dict(measure())
        except Exception as error:  # recorded, and the next row goes on
            self.tracebacks[label] = traceback.format_exc()
            first = (str(error).strip().splitlines() or [""])[0][:300]
            self.row(label, error=f"{type(error).__name__}: {first}")
            return None
        finally:
            free_memory()
        self.row(label, **values, seconds=time.perf_counter() - started)
        return values

    def _write(self) -> None:
        path = self.folder / f"section-{self.section}.json"
        text = json.dumps({"rows": self.rows, "tracebacks": self.tracebacks}, indent=1, default=str)
        path.write_text(text + "\n", encoding="utf-8")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def free_memory() -> None:
    """Give back what the last measurement held."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done everything asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mib(device: torch.device) -> float | None:
    """Largest memory held by tensors since the last `free_memory`; None on the CPU."""
    return torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else None


def held_mib(device: torch.device) -> float | None:
    """Largest memory taken from the device since the last `free_memory`, that of recorded passes included."""
    return torch.cuda.max_memory_reserved(device) / MIB if device.type == "cuda" else None


class Stopwatch:
    """Marks on the device's own clock; between two of them lies what the device did and waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[Any] = []

    def mark(self) -> None:
        """Set a mark without waiting."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def milliseconds(self, skip: int = 0) -> list[float]:
        """Times between neighbouring marks, without the first `skip`."""
        synchronise(self.device)
        pairs = list(zip(self.marks, self.marks[1:], strict=False))[skip:]
        if self.device.type == "cuda":
            return [first.elapsed_time(second) for first, second in pairs]
        return [1000 * (second - first) for first, second in pairs]


def median_ms(work: Callable[[], Any], device: torch.device, repeats: int, warm_up: int = 2) -> float:
    """Median time of one call on the device's clock."""
    watch = Stopwatch(device)
    watch.mark()
    for _ in range(warm_up + repeats):
        work()
        watch.mark()
    return statistics.median(watch.milliseconds(skip=warm_up))
