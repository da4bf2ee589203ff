"""Loading the images of a training step: everything is a pure function of (seed, step, slot).

    dataset = StepDataset({"source": domain}, SampleOrder(seed=0, batch=4), augmentation={})
    for batch in step_loader(dataset, start=0, stop=100, workers=2):
        batch["source"].images

There is no loader state: resuming at a step is asking for it, and the number of workers changes no bit.
"""

import multiprocessing
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.artifacts.errors import DataError, SegadaptError, WorkerError
from pipeline.artifacts.signals import SIGNALS, leave_signals_to_parent
from pipeline.data.augmentation import Augmented, augment, rare_classes
from pipeline.data.batch import Batch
from pipeline.data.domain import Domain, ExtraMap
from pipeline.data.parameters import Augmentation
from pipeline.data.placement import Pixels
from pipeline.data.rare_sampling import RareImages
from pipeline.data.sampler import SampleOrder
from pipeline.data.style import with_amplitudes_of, with_colors_of
from pipeline.numerics.randomness import Draws, tag

PREFETCH_STEPS = 2
"""Steps that each worker holds ready."""
STALL_SECONDS = 600.0
"""A worker that gives nothing for so long is taken for lost (a hanging network folder)."""
START_METHOD = "fork" if sys.platform.startswith("linux") else "spawn"
"""fork starts in milliseconds and shares the lists of names; workers use NumPy and Pillow only and never
touch the GPU, so the parent's threads and CUDA context do not matter to them."""


class LoaderError(WorkerError):
    """A process that loads images died or hung; the same run may well pass when started again."""


class StepDataset(Dataset[dict[str, Batch]]):
    """Steps by number; each is a dictionary of the domains that have images.

    `augmentation`: by domain, none where missing; drawn from the seed of `order`. `slots`: this process's slots
    of a step; None: all. `styles`: the images whose style `style` takes. DataError where an augmentation needs
    labels that a domain has not.
    """

    def __init__(
        self,
        domains: Mapping[str, Domain],
        order: SampleOrder,
        augmentation: Mapping[str, Augmentation],
        slots: Sequence[int] | None = None,
        styles: Domain | None = None,
    ) -> None:
        self.styles = styles
        self.domains = {name: domain for name, domain in domains.items() if len(domain)}
        self.order = order
        self.slots = tuple(range(order.batch) if slots is None else slots)
        self.augmentation = {name: augmentation.get(name, Augmentation()) for name in self.domains}
        for name in self.domains:
            self._check_labels(name)
        self._rare = {name: self._rare_classes(name) for name in self.domains}
        self._rare_images = {
            name: RareImages(self.domains[name], wanted)
            for name in self.domains
            if (wanted := self.augmentation[name].rare_sampling) is not None
        }

    def __getitem__(self, step: int) -> dict[str, Batch]:
        """Load the images of a step, numbered from 0."""
        return {name: self._domain_batch(name, step) for name in self.domains}

    def _check_labels(self, name: str) -> None:
        """Refuse crops chosen by labels where there are none; `rare_sampling` refuses by itself."""
        by_label = {"rare_crops": None, "max_class_share": 1.0}
        for key, unset in by_label.items():
            if getattr(self.augmentation[name], key) != unset and not self.domains[name].has_labels:
                raise DataError(f"augmentation.{name}.{key}: the images have no labels here; remove the key")

    def _rare_classes(self, name: str) -> tuple[int, ...]:
        wanted = self.augmentation[name].rare_crops
        return () if wanted is None else rare_classes(self.domains[name].class_counts(), wanted)

    def _domain_batch(self, name: str, step: int) -> Batch:
        domain = self.domains[name]
        shown = [self._shown(name, step, slot) for slot in self.slots]
        names = tuple(domain.names[index] for index, _ in shown)
        samples = [
            self._sample(name, step, slot, index, rare)
            for slot, (index, rare) in zip(self.slots, shown, strict=True)
        ]
        labels = [sample.label for sample in samples]
        return Batch(
            # In the order of memory that they are decoded in, which is channels last.
            images=_stack([sample.image for sample in samples], names, "image", rows=0).permute(0, 3, 1, 2),
            labels=_stack(labels, names, "label") if domain.has_labels else None,
            names=names,
            extras={key: _extra_maps(key, extra, names, samples) for key, extra in domain.extras.items()},
        )

    def _shown(self, name: str, step: int, slot: int) -> tuple[int, tuple[int, ...]]:
        """Which image a slot shows, and the classes that its crop looks for."""
        if name in self._rare_images:
            drawn = self._rare_images[name].draw(self._draws("rare", name, step, slot))
            if drawn is not None:
                return drawn.index, (drawn.class_id,)
        return self.order.index(name, len(self.domains[name]), step, slot), self._rare[name]

    def _draws(self, purpose: str, name: str, step: int, slot: int) -> Draws:
        return Draws([self.order.seed, tag(f"{purpose}/{name}"), step, slot])

    def _sample(self, name: str, step: int, slot: int, index: int, rare: tuple[int, ...]) -> Augmented:
        domain = self.domains[name]
        key = [self.order.seed, tag(f"augment/{name}"), step, slot]
        try:
            image = self._styled(domain.image(index), name, step, slot)
            return augment(image, domain.label(index), key, self.augmentation[name], rare)
        except DataError as error:
            raise DataError(f"{name} image `{domain.names[index]}`: {error}") from error

    def _styled(self, image: Pixels, name: str, step: int, slot: int) -> Pixels:
        """An image, in its share of the slots in the style of a random image of `styles`."""
        share, band = self.augmentation[name].style, self.augmentation[name].style_band
        if not share or not self.styles:
            return image
        draws = self._draws("style", name, step, slot)
        if not draws.chance(share):
            return image
        other = self.styles.image(draws.below(len(self.styles)))
        return with_colors_of(image, other) if band is None else with_amplitudes_of(image, other, band)


def _extra_maps(key: str, extra: ExtraMap, names: Sequence[str], samples: Sequence[Augmented]) -> Tensor:
    pairs = zip(names, samples, strict=True)
    return _stack([extra(name, sample.placement) for name, sample in pairs], names, key)


def _stack(arrays: Sequence[Any], names: Sequence[str], what: str, rows: int = -2) -> Tensor:
    """Arrays of one shape as one tensor: the only copy that loading makes. `rows`: their axis of rows."""
    for array, name in zip(arrays, names, strict=True):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{what}s of different sizes in one step: `{names[0]}` has {_size(arrays[0], rows)}, `{name}`"
                f" has {_size(array, rows)}; give the task a working size, set `augmentation: crop`, or use `batch: 1`"
            )
    stacked = np.empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    for target, array in zip(stacked, arrays, strict=True):
        target[...] = array
    return torch.from_numpy(stacked)


def _size(array: Any, rows: int) -> str:
    return f"{array.shape[rows + 1]}x{array.shape[rows]}"


def step_loader(
    dataset: StepDataset, start: int, stop: int, workers: int, pin: bool = False, stall: float = STALL_SECONDS
) -> Iterator[dict[str, Batch]]:
    """Yield the batches of steps start..stop-1 in order, loaded by `workers` processes (0: by this one).

    `pin`: page-locked memory, for copies to a GPU. What went wrong in a worker is raised here as it was; a
    worker that died or gave nothing for `stall` seconds raises LoaderError. Closing the iterator ends the
    workers. The global random state is not touched.
    """
    loader = DataLoader(
        _Reporting(dataset),
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=PREFETCH_STEPS if workers else None,
        multiprocessing_context=START_METHOD if workers else None,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=pin,
        timeout=stall if workers else 0,
        collate_fn=_unchanged,
        generator=torch.Generator().manual_seed(0),
    )
    others = set(multiprocessing.active_children())
    with _signals_held_back():
        batches = iter(loader)
    own = [process for process in multiprocessing.active_children() if process not in others]
    try:
        for step in range(start, stop):
            yield _checked(_next(batches, step, workers))
    finally:
        # Not left to garbage collection: an error's traceback may hold the iterator for long.
        getattr(batches, "_shutdown_workers", lambda: None)()
        for process in own:
            # A stalled worker answers nothing but this, and must not hold up the end of the stage.
            process.kill()
            process.join(5.0)


def _next(batches: Iterator[Any], step: int, workers: int) -> Any:
    try:
        return next(batches)
    except (RuntimeError, OSError, EOFError) as error:
        if workers == 0 or not _is_loss(error):
            raise
        raise _loss(f"before step {step}", error) from error


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Make LoaderError of a worker's death that is noticed outside the loader.

    torch raises it from a signal handler, so wherever the main process is: in a forward pass, in a save.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or not _is_loss(error):
            raise
        raise _loss("during a step", error) from error


def _loss(moment: str, error: Exception) -> LoaderError:
    return LoaderError(
        f"a loader process was lost {moment} ({error}). The usual cause is too little memory or"
        " /dev/shm: start the run again, with fewer `workers` if it comes back"
    )


def _is_loss(error: Exception) -> bool:
    """Whether a worker is gone, rather than raised: its death also breaks the pipe that a batch comes through."""
    if "in DataLoader worker process" in str(error):
        return False
    signs = ("exited unexpectedly", "is killed by signal", "timed out")
    return not isinstance(error, RuntimeError) or any(sign in str(error) for sign in signs)


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a worker to the main process; torch would rewrite its message."""

    error: SegadaptError


class _Reporting(Dataset[Any]):
    def __init__(self, dataset: StepDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, step: int) -> dict[str, Batch] | _Failure:
        try:
            return self.dataset[step]
        except SegadaptError as error:
            return _Failure(error)


def _checked(result: dict[str, Batch] | _Failure) -> dict[str, Batch]:
    if isinstance(result, _Failure):
        raise result.error
    return result


def _unchanged(batch: Any) -> Any:
    return batch


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Workers born inside inherit the hold, so that no signal ends them before they come to ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
