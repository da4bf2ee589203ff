"""Passes: a network in eval mode over every image of a cache, cut into chunks that are never computed twice.

    scores = run_pass(EntropyMeasure(...), network, Plain(), cache.images, settings)

What is computed per image is a `Measure` (`measures.py`); how logits are made is a test mode
(`test_modes.py`). A pass that is stopped or killed goes on from its finished chunks. Neither the number of
chunks nor a stop changes a bit of the result: batches are cut at multiples of the batch size, and measures
keep integer counts or one value per image, merged in the order of the images.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, groupby
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts.control import Control, never, silent
from pipeline.artifacts.errors import Interrupted, SegadaptError
from pipeline.inference.batches import Batching, batching
from pipeline.inference.chunks import Chunk, ChunkStore, cut, gaps
from pipeline.inference.test_modes import Logits, Mode
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics import Precision, Size
from pipeline.numerics.precision import autocast, products

MAX_CHUNK = 64
"""Images per chunk at most: what a chunk keeps lies in memory until it is saved."""

Result = TypeVar("Result")


class Images(Protocol):
    """Images by position: uint8 arrays (H, W, 3), RGB, of any mix of sizes (`data.records.Records`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> np.ndarray: ...


class Measure(Generic[Result]):
    """What a pass computes from logits. `position` is an image's place in the pass, from 0."""

    def load(self, position: int) -> np.ndarray | None:
        """Read what the measure needs beside the image; called in the background. Nothing, unless told."""
        return None

    def size(self, label_size: Size, loaded: np.ndarray | None) -> Size:
        """Return height and width of the wanted logits: those of the network's label map, unless told."""
        return label_size

    def begin(self, chunk_start: int) -> None:
        """Start a chunk with empty accumulators."""
        raise NotImplementedError

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Take what the test mode says of B images; what is kept stays on the network's device."""
        raise NotImplementedError

    def end(self) -> dict[str, Tensor]:
        """Return the chunk's result as CPU tensors."""
        raise NotImplementedError

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> Result:
        """Turn the results of all chunks, in the order of the images, into the result; read them once."""
        raise NotImplementedError


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Put a host tensor where a GPU reads it while the host goes on."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def sent_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to the device without waiting for what the device does."""
    return pinned(tensor, device).to(device, non_blocking=True)


def in_order(pieces: Sequence[Tensor], positions: Sequence[int]) -> Tensor:
    """Rows that a measure took in piece by piece, on the CPU in the order of their images' positions.

    Images of one batch whose labels differ in size come in the order of the sizes. Raises RuntimeError for no piece.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    return torch.cat(list(pieces)).cpu()[order]


def _heeded_after_the_first(stop: Callable[[], str | None]) -> Callable[[], str | None]:
    """Ask `stop` each time but ignore the first answer: a pass whose time is up when it begins gets on too."""
    asked = count()

    def ask() -> str | None:
        reason = stop()
        return reason if next(asked) else None

    return ask


@dataclass(frozen=True)
class PassSettings:
    """How a pass runs; only `batch` and `precision` may change bits of the result (convolutions round differently).

    `batch`: images per forward pass; None leaves them, and the layout in memory, to the device. `precision`:
    arithmetic of the forward passes; None for that of the network's training.
    `state`: folder for finished chunks. `fingerprint`: what identifies network, data and software, as JSON;
    chunks with another one are refused. `chunks`: at least so many pieces are saved. `stop`: returns a reason
    once the pass is to stop, asked between batches; one batch is always computed. `progress`:
    called with images done and in total.
    """

    state: Path
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = 1
    precision: Precision | None = None
    chunks: int = 8
    stop: Callable[[], str | None] = never
    progress: Callable[[int, int], None] = silent

    @property
    def control(self) -> Control:
        """`stop` and `progress`."""
        return Control(self.stop, self.progress)


@dataclass(frozen=True)
class _Batch:
    """Images of one size: positions, uint8 (B, 3, H, W) on the host, and what the measure loaded."""

    positions: list[int]
    images: Tensor
    loaded: list[np.ndarray | None]


def run_pass(
    measure: Measure[Result],
    network: SegmentationNetwork,
    mode: Mode,
    images: Images,
    settings: PassSettings,
) -> Result:
    """Run a measure over all images and return its merged result.

    The network is used in eval mode on its own device and left as it was found. Interrupted: `stop` gave a
    reason; everything computed so far is saved. SegadaptError: a prediction is not finite (names the image's
    position). StateError: the state folder holds chunks of another pass.
    """
    if settings.chunks < 1 or (settings.batch is not None and settings.batch < 1):
        raise ValueError(f"batch and chunks must be at least 1, found {settings.batch} and {settings.chunks}")
    batches = batching(settings.batch, network.device)
    settings = replace(settings, stop=_heeded_after_the_first(settings.stop))
    total = len(images)
    fingerprint = {
        **settings.fingerprint,
        "test_mode": mode.name,
        "batch": settings.batch,
        "precision": settings.precision or network.precision,
        "images": total,
    }
    store = ChunkStore(settings.state, fingerprint)
    finished = store.finished()
    done = sum(chunk.stop - chunk.start for chunk in finished)
    settings.progress(done, total)
    with _evaluating(network, batches), ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        for gap in gaps(finished, total):
            for chunk in cut(gap, _chunk_length(total, settings.chunks, batches.most)):
                runner = _ChunkRunner(measure, network, mode, images, settings, batches, pool)
                tensors = runner.run(chunk, store, done)
                store.save(chunk, tensors)
                done += chunk.stop - chunk.start
    return measure.merge(store.load(chunk) for chunk in store.finished())


def _chunk_length(total: int, chunks: int, batch: int) -> int:
    """Return images per chunk: about total / chunks, a multiple of the batch so that batches stay the same."""
    wanted = min(MAX_CHUNK, -(-total // chunks))
    return max(1, -(-wanted // batch)) * batch


@contextmanager
def _evaluating(network: SegmentationNetwork, batches: Batching) -> Iterator[None]:
    training = network.training
    network.eval()
    plain = batches.memory_format == torch.contiguous_format
    if not plain:
        network.to(memory_format=batches.memory_format)
    try:
        with torch.inference_mode():
            yield
    finally:
        if not plain:
            network.to(memory_format=torch.contiguous_format)
        network.train(training)


class _ChunkRunner:
    """Computes one chunk: the next batch is read in the background while the device works on this one."""

    def __init__(
        self,
        measure: Measure[Any],
        network: SegmentationNetwork,
        mode: Mode,
        images: Images,
        settings: PassSettings,
        batches: Batching,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.measure, self.network, self.mode = measure, network, mode
        self.images, self.settings, self.batches, self.pool = images, settings, batches, pool
        self.device = network.device
        self.finite: list[tuple[list[int], Tensor]] = []

    def run(self, chunk: Chunk, store: ChunkStore, done: int) -> dict[str, Tensor]:
        """Return the chunk's tensors; on a stop, save the finished share as a chunk of its own and raise."""
        self.measure.begin(chunk.start)
        for start, batches in self._prefetched(chunk):
            reason = self.settings.stop()
            if reason:
                if start > chunk.start:
                    store.save(Chunk(chunk.start, start), self._end())
                raise Interrupted(
                    f"{reason}: {done + start - chunk.start} of {len(self.images)} images are done"
                )
            for batch in batches:
                self._compute(batch)
            self.settings.progress(
                done + min(start + self.batches.most, chunk.stop) - chunk.start, len(self.images)
            )
        return self._end()

    def _prefetched(self, chunk: Chunk) -> Iterator[tuple[int, list[_Batch]]]:
        starts = list(range(chunk.start, chunk.stop, self.batches.most))
        waiting = self.pool.submit(self._read, starts[0], chunk.stop)
        for start, following in zip(starts, [*starts[1:], None], strict=True):
            batches = waiting.result()
            if following is not None:
                waiting = self.pool.submit(self._read, following, chunk.stop)
            yield start, batches

    def _read(self, start: int, stop: int) -> list[_Batch]:
        """Read up to one batch of images from `start`; neighbours of one size share a forward pass."""
        positions = list(range(start, min(start + self.batches.most, stop)))
        arrays = {position: self.images[position] for position in positions}
        runs = groupby(positions, key=lambda position: arrays[position].shape)
        groups = [(list(run), self.batches.fitting(shape[:2])) for shape, run in runs]
        return [
            self._batch(run[first : first + fitting], arrays)
            for run, fitting in groups
            for first in range(0, len(run), fitting)
        ]

    def _batch(self, positions: list[int], arrays: Mapping[int, np.ndarray]) -> _Batch:
        stacked = torch.from_numpy(np.stack([arrays[position] for position in positions]))
        images = stacked.permute(0, 3, 1, 2).contiguous(memory_format=self.batches.memory_format)
        images = pinned(images, self.device)
        return _Batch(positions, images, [self.measure.load(position) for position in positions])

    def _compute(self, batch: _Batch) -> None:
        images = batch.images.to(self.device, non_blocking=True)
        image_size = (images.shape[-2], images.shape[-1])
        precision = self.settings.precision or self.network.precision
        with products(precision), autocast(precision, self.device):
            maps = self.mode.maps(self.network, images)
        self.finite.append(
            (batch.positions, torch.stack([m.isfinite().flatten(1).all(1) for m in maps]).all(0))
        )
        label_size = self.network.label_size(image_size)
        sizes = [self.measure.size(label_size, loaded) for loaded in batch.loaded]
        for size in dict.fromkeys(sizes):
            chosen = [row for row, wanted in enumerate(sizes) if wanted == size]
            some = maps if len(chosen) == len(sizes) else [m[chosen] for m in maps]
            self.measure.add(
                [batch.positions[row] for row in chosen],
                [batch.loaded[row] for row in chosen],
                Logits(self.mode, self.network, some, image_size, size),
            )

    def _end(self) -> dict[str, Tensor]:
        """Read the chunk's result: the one place where the host waits for the device."""
        if self.finite:
            flags = torch.cat([ok for _, ok in self.finite]).tolist()
            places = [position for positions, _ in self.finite for position in positions]
            bad = [position for position, ok in zip(places, flags, strict=True) if not ok]
            if bad:
                raise SegadaptError(
                    f"the network's prediction is not finite for image number {bad[0]} of the pass (from 0); "
                    "its weights or this image are damaged. Check the training log for non-finite terms."
                )
        return self.measure.end()
