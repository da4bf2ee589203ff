"""Section `data`: how long AdvEnt's training waits for images that the project's own loader reads from caches."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpu_sections.harness import Record, Scale, Stopwatch
from gpu_sections.trainings import CLASSES, StepBatches, make_job, network_of, set_up, train_parameters
from pipeline.data.cache import Cache
from pipeline.data.domain import Domain
from pipeline.data.loading import StepDataset, step_loader
from pipeline.data.records import RecordWriter
from pipeline.data.sampler import SampleOrder
from pipeline.training.loop import Training

IMAGES = 16
STEPS = 30


def data(record: Record, scale: Scale) -> None:
    """Train from made-up caches with 0, 1 and 8 loader processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = record.attempt("caches written", lambda: write_caches(folder, scale))
        if written is not None:
            for workers in (0, 1, 8):
                record.attempt(f"{workers} workers", lambda workers=workers: waiting(folder, scale, workers))


def write_caches(folder: Path, scale: Scale) -> dict[str, Any]:
    """A labelled cache at the source's size and an unlabelled one at the target's."""
    random = np.random.default_rng(0)
    for domain, (width, height) in (("source", scale.source), ("target", scale.target)):
        write(folder / domain, "images", random.integers(0, 256, (IMAGES, height, width, 3), dtype=np.uint8))
    width, height = scale.source
    labels = random.integers(0, CLASSES, (IMAGES, height, width), dtype=np.uint8)
    write(folder / "source", "labels", labels)
    return {"images": 2 * IMAGES}


def write(folder: Path, prefix: str, arrays: np.ndarray) -> None:
    """Write arrays as records."""
    names = [f"image-{index}" for index in range(len(arrays))]
    writer = RecordWriter(folder, prefix, folder / "state", names)
    for shard in writer.shards():
        first = shard * writer.per_shard
        writer.write_shard(shard, iter(arrays[first : first + len(writer.shard_names(shard))]))
    writer.finish()


def waiting(folder: Path, scale: Scale, workers: int) -> dict[str, Any]:
    """Share of the loop's time that goes into asking the loader for a step, warm-up left out."""
    set_up("fast", scale)
    steps = STEPS if scale.device.type == "cuda" else scale.warm_up + scale.steps + 1
    parameters = train_parameters("advent", "bfloat16", steps=steps, batch=1)
    domains = {
        "source": Domain([Cache(folder / "source")], labels="own"),
        "target": Domain([Cache(folder / "target")]),
    }
    dataset = StepDataset(domains, SampleOrder(seed=0, batch=1), augmentation={})
    waits: list[float] = []
    watch = Stopwatch(scale.device)

    def loader(start: int, stop: int) -> Iterator[StepBatches]:
        batches = step_loader(dataset, start, stop, workers, pin=scale.device.type == "cuda")
        for _ in range(start, stop):
            watch.mark()
            before = time.perf_counter()
            batch = next(batches)
            waits.append(1000 * (time.perf_counter() - before))
            yield batch
        batches.close()  # type: ignore[attr-defined]

    Training(make_job(parameters, network_of(scale.deep), loader, scale)).run()
    taken = watch.milliseconds(skip=scale.warm_up)
    waited = waits[scale.warm_up : scale.warm_up + len(taken)]
    return {
        "wait_share": sum(waited) / sum(taken),
        "wait_ms": sum(waited) / len(waited),
        "step_ms": sum(taken) / len(taken),
    }
