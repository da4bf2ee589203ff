"""The training loop: one for all methods, resumable at every step.

A step: learning rates, gradient (`step.py`), optimisers, `after_step`, a look at the flags of the step
before; then snapshot, log line, state and stop, each where due. Numbers that are not finite stop the run
before any of these can hold them.
"""

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from pipeline.artifacts.errors import ConfigError, Interrupted, SegadaptError
from pipeline.methods.base import Method
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.batch_norm import synchronise
from pipeline.numerics.randomness import seeded
from pipeline.training.checkpoint import Stateful, collect, restore
from pipeline.training.distributed import SINGLE, PeerFailed, Processes
from pipeline.training.finite import FiniteWatch, refuse_non_finite
from pipeline.training.metrics import MetricsTable, parts_of
from pipeline.training.optimisers import build_optimisers, set_learning_rates
from pipeline.training.parameters import RunSettings, TrainParameters
from pipeline.training.progress import Progress
from pipeline.training.schedules import learning_rate_factor, snapshot_steps
from pipeline.training.step import StepOutcome, StepRunner

if TYPE_CHECKING:
    from pipeline.data.loading import StepBatch
    from pipeline.training.state import StateStore

COLLAPSE_SHARE = 0.95
"""Above this share of the target's pixels in one class the log warns of a collapse (valeoai/ADVENT#5)."""

StepLoader = Callable[[int, int], "Iterable[Mapping[str, StepBatch]]"]
"""`(start, stop)` -> the batches of steps start .. stop-1 in order, this process's slots only."""


@dataclass
class TrainingJob:
    """Everything that one process of a training stage needs.

    `loader`: see `StepLoader`. `snapshot`: called with the number of finished steps at every snapshot; it
    writes the network, and may be called again with the same number after a resume. `stop`: gives a reason
    when the training was asked to stop. `metrics_path`: the CSV of all terms. `bar`: this is the only job.
    """

    label: str
    network: SegmentationNetwork
    method: Method
    modules: dict[str, nn.Module]
    parameters: TrainParameters
    loader: StepLoader
    seed: int
    store: "StateStore"
    stop: Callable[[], str | None]
    snapshot: Callable[[int], None]
    log: logging.Logger
    settings: RunSettings = field(default_factory=RunSettings)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    determinism: Literal["exact", "fast"] = "exact"
    metrics_path: Path | None = None
    class_names: tuple[str, ...] = ()
    processes: Processes = SINGLE
    bar: bool = False
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class TrainingResult:
    """`steps` finished; `snapshots`: at which of them networks were kept; `last`: final values."""

    steps: int
    snapshots: tuple[int, ...]
    last: dict[str, float]


def run_training(job: TrainingJob) -> TrainingResult:
    """Train to the end, from the newest state where there is one.

    Raises Interrupted when `job.stop` gives a reason (the state is saved first; at least one step is made),
    and SegadaptError naming step, term and images when a number is not finite.
    """
    with deterministic(job.determinism), seeded(job.seed, "training", device=job.device):
        return _Training(job).run()


@contextmanager
def deterministic(mode: Literal["exact", "fast"]) -> Iterator[None]:
    """Inside the context, allow only kernels that give the same bits again (`exact`), or the quickest."""
    before = (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
    torch.use_deterministic_algorithms(mode == "exact")
    torch.backends.cudnn.benchmark = mode == "fast"
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


class _Training:
    def __init__(self, job: TrainingJob) -> None:
        self.job, self.parameters, self.processes = job, job.parameters, job.processes
        own = len(job.processes.slots(job.parameters.batch))
        self._check_division(own)
        self._place()
        self.optimisers = build_optimisers(job.network, job.modules, job.parameters)
        self.runner = StepRunner(
            job.network, job.modules, job.method, job.parameters, job.device, job.seed, job.processes
        )
        self.metrics = MetricsTable(job.metrics_path if job.processes.is_main else None)
        self.objects = Stateful(self.runner.modules, self.optimisers, self.metrics)
        self.watch = FiniteWatch()
        self.snapshots = snapshot_steps(self.parameters.steps, self.parameters.snapshots)
        self.saved_at = job.clock()

    def _check_division(self, own: int) -> None:
        micro, rest = divmod(own, self.parameters.accumulation)
        group = math.lcm(*self.parameters.objective.image_groups())
        if rest or micro % group:
            raise ConfigError(
                f"gpus: {own} images per process and step cannot be cut into {self.parameters.accumulation} "
                f"micro-batches of whole groups of {group}; change `run: gpus`, `batch` or `accumulation`"
            )

    def _place(self) -> None:
        """Move everything to the device; channels-last convolutions are quicker on GPUs."""
        job = self.job
        if job.processes.world > 1:
            synchronise(job.network, job.network.batch_norm_mode)
        for module in (job.network, *job.modules.values()):
            module.to(job.device)
            if job.device.type == "cuda":
                module.to(memory_format=torch.channels_last)
            module.train()

    def run(self) -> TrainingResult:
        start = self._resume()
        steps = self.parameters.steps
        progress = Progress(
            self.job.label,
            start,
            steps,
            self.job.log if self.processes.is_main else None,
            bar=self.job.bar,
            clock=self.job.clock,
        )
        batches = iter(self.job.loader(start, steps)) if start < steps else iter(())
        try:
            for step in range(start, steps):
                before = self.job.clock()
                batch = next(batches, None)
                if batch is None:
                    raise RuntimeError(f"the loader ended before step {step} of {steps}")
                self._step(step, batch, progress, waited=self.job.clock() - before)
        finally:
            progress.close()
            if isinstance(batches, Generator):
                batches.close()  # ends the loader's processes now, not when a traceback is dropped
        if self.processes.is_main:
            self.metrics.write()
        return TrainingResult(steps, self.snapshots, self.metrics.latest())

    def _resume(self) -> int:
        """Put the newest state back; process 0 looks first, since it may set a damaged state aside."""
        if not self.processes.is_main:
            self.processes.barrier()
        state = self.job.store.load_newest()
        if self.processes.is_main:
            self.processes.barrier()
        if state is None:
            return 0
        restore(self.objects, state.tensors, state.meta)
        self.job.log.info("resumed at step %d of %d", state.step, self.parameters.steps)
        return int(state.step)

    def _step(self, step: int, batch: "Mapping[str, StepBatch]", progress: Progress, waited: float) -> None:
        done = step + 1
        log_due = done % self.job.settings.log_every == 0 or done == self.parameters.steps
        factor = learning_rate_factor(self.parameters, step)
        outcome = self._update(step, batch, factor, count_classes=log_due)
        stop = self.job.stop() or self.processes.asked_to_stop()
        # Flags of the step before: the device has long finished them, so nothing waits.
        wrong, stopping, due = self._agree(self.watch.complaint(), stop is not None, self._state_due(done))
        self._refuse(wrong)
        names, values = parts_of(outcome.values)
        self.metrics.add(done, self.parameters.optimiser.lr * factor, names, values)
        self.watch.submit(done, *parts_of(outcome.values | self._gradient_norms()), _samples(batch))
        progress.advance(done, waited)
        save = due or stopping or done == self.parameters.steps
        if save or log_due or done in self.snapshots:
            self._refuse(self._agree(self.watch.complaint())[0])
            self.metrics.flush(self.processes)
        if done in self.snapshots:
            self._snapshot(done)
        if log_due:
            progress.report(self._facts(outcome, factor))
        if save:
            self._save(done)
        if stopping and done < self.parameters.steps:
            raise Interrupted(stop or "another process was asked to stop")

    def _update(
        self, step: int, batch: "Mapping[str, StepBatch]", factor: float, count_classes: bool
    ) -> StepOutcome:
        """Make one optimiser step."""
        set_learning_rates(self.optimisers, factor)
        outcome = self.runner.run(step, batch, count_classes)
        if not outcome.values:
            raise SegadaptError(
                f"method {self.parameters.method} has nothing to learn from: none of its domains "
                f"({', '.join(self.job.method.domains)}) has images"
            )
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.job.method.after_step(self.runner.modules, self.runner.context_after(step, batch))
        return outcome

    def _gradient_norms(self) -> dict[str, Tensor]:
        """Return the norm of each trained module's gradient: not finite when any of its numbers is not."""
        return {
            f"gradient of {name}": torch.nn.utils.get_total_norm(gradients)
            for name, tensors in self.runner.trained.items()
            if (gradients := [tensor.grad for tensor in tensors if tensor.grad is not None])
        }

    def _state_due(self, done: int) -> bool:
        settings = self.job.settings
        if not self.processes.is_main:
            return False  # process 0 decides; clocks differ
        by_steps = settings.state_steps is not None and done % settings.state_steps == 0
        return by_steps or self.job.clock() - self.saved_at >= 60.0 * settings.state_minutes

    def _agree(self, complaint: str | None, *flags: bool) -> list[Any]:
        """Settle flags over processes; a complaint of another process becomes one of this process."""
        wrong, *settled = self.processes.any_of([complaint is not None, *flags])
        return [(complaint or "") if wrong else None, *settled]

    def _refuse(self, complaint: str | None) -> None:
        if complaint is None:
            return
        if not complaint:
            raise PeerFailed("another process found a number that is not finite")
        raise SegadaptError(complaint)

    def _snapshot(self, done: int) -> None:
        if self.processes.is_main:
            refuse_non_finite(self.job.network.state_dict(), done)
            self.job.snapshot(done)

    def _save(self, done: int) -> None:
        self.saved_at = self.job.clock()
        if self.processes.is_main:
            tensors, meta = collect(self.objects)
            weights = {name: value for name, value in tensors.items() if not name.startswith("metrics/")}
            refuse_non_finite(weights, done)
            self.job.store.save(done, tensors, meta)

    def _facts(self, outcome: StepOutcome, factor: float) -> str:
        values = [f"lr {self.parameters.optimiser.lr * factor:.3g}"]
        values += [f"{name} {value:.4g}" for name, value in self.metrics.latest().items()]
        if outcome.class_counts is not None:
            self.processes.sum_([outcome.class_counts])
            values.append(self._class_shares(outcome.class_counts.tolist()))
        return "  ".join(values)

    def _class_shares(self, counts: list[int]) -> str:
        """Describe the target's predicted classes in this step, and warn of a collapse to one class."""
        total = max(1, sum(counts))
        names = self.job.class_names or tuple(str(index) for index in range(len(counts)))
        shares = sorted(zip((count / total for count in counts), names, strict=True), reverse=True)
        share, name = shares[0]
        if share > COLLAPSE_SHARE and self.processes.is_main:
            self.job.log.warning(
                "%.1f %% of the target's pixels are predicted as %s: the network may have collapsed",
                *(100 * share, name),
            )
        return "target " + " ".join(f"{name} {100 * share:.1f}%" for share, name in shares if share >= 0.0005)


def _samples(batch: "Mapping[str, StepBatch]") -> dict[str, tuple[str, ...]]:
    return {name: tuple(part.names) for name, part in batch.items()}
