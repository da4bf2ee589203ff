"""The training loop: one for all methods, resumable at every step.

A step: learning rates, gradient (`step.py`), optimisers, `after_step`, a look at the flags of the step
before; then snapshot, log line, state and stop, each where due. Numbers that are not finite stop the run
before any of these can hold them.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts.errors import Interrupted, SegadaptError
from pipeline.data.batch import Batch
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.batch_norm import synchronise
from pipeline.networks.placement import place
from pipeline.numerics.randomness import seeded
from pipeline.training.checkpoint import Stateful, collect, restore
from pipeline.training.distributed import SINGLE, PeerFailed, Processes
from pipeline.training.finite import FiniteWatch, refuse_non_finite
from pipeline.training.graphs import play_passes
from pipeline.training.learner import Learner
from pipeline.training.metrics import MetricsTable, parts_of
from pipeline.training.optimisers import build_optimisers, set_learning_rates
from pipeline.training.parameters import RunSettings
from pipeline.training.progress import Progress
from pipeline.training.schedules import learning_rate_factor, snapshot_steps
from pipeline.training.state import StateStore
from pipeline.training.step import StepOutcome, StepRunner

COLLAPSE_SHARE = 0.95
"""Above this share of the target's pixels in one class the log warns of a collapse (valeoai/ADVENT#5)."""

StepLoader = Callable[[int, int], Iterable[Mapping[str, Batch]]]
"""`(start, stop)` -> the batches of steps start .. stop-1 in order, this process's slots only."""


@dataclass
class TrainingJob:
    """What one process of a training stage works with.

    `loader`: see `StepLoader`. `snapshot`: called with the number of finished steps at every snapshot; it
    writes the network, and may be called again with the same number after a resume. `stop`: gives a reason
    when the training was asked to stop.
    """

    learner: Learner
    loader: StepLoader
    store: StateStore
    snapshot: Callable[[int], None]
    stop: Callable[[], str | None]
    progress: Progress
    metrics: MetricsTable
    settings: RunSettings = field(default_factory=RunSettings)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    processes: Processes = SINGLE


class Training:
    """Trains a job's network to the end, from the newest state where there is one."""

    def __init__(self, job: TrainingJob) -> None:
        self.job, self.learner, self.processes = job, job.learner, job.processes
        self.parameters, self.progress, self.metrics = job.learner.parameters, job.progress, job.metrics
        self._place()
        self.runner = StepRunner(self.learner, job.device, self.processes)
        # What processes exchange inside a pass is not recorded; what is compiled launches its own way.
        if self.processes.world == 1 and not self.parameters.compile:
            for network in self._networks():
                play_passes(network, job.device, job.settings.graphs)
        self.optimisers = build_optimisers(self.learner.network, self.learner.auxiliary, self.parameters)
        self.objects = Stateful(self.runner.modules, self.optimisers, self.metrics)
        self.watch = FiniteWatch()
        self.snapshots = snapshot_steps(self.parameters.steps, self.parameters.snapshots)
        self.saved_at = self.progress.clock()

    def _place(self) -> None:
        """Move everything to the device, in the form that is quick there."""
        if self.processes.world > 1:
            for network in self._networks():
                synchronise(network, network.batch_norm_mode)
        for module in self.learner.modules.values():
            module.train()
            place(module, self.job.device)

    def _networks(self) -> list[SegmentationNetwork]:
        """List the network and what auxiliary modules hold of its kind, such as a teacher."""
        inside = [one for module in self.learner.modules.values() for one in module.modules()]
        return [one for one in inside if isinstance(one, SegmentationNetwork)]

    def run(self) -> None:
        """Make all steps that are left.

        Raises Interrupted when `job.stop` gives a reason (the state is saved first; at least one step is
        made), and SegadaptError naming step, term and images when a number is not finite.
        """
        start, steps = self._resume(), self.parameters.steps
        batches = iter(self.job.loader(start, steps)) if start < steps else iter(())
        self.progress.begin(start)
        with seeded(self.learner.seed, "training", device=self.job.device):
            try:
                for step in range(start, steps):
                    before = self.progress.clock()
                    batch = next(batches, None)
                    if batch is None:
                        raise RuntimeError(f"the loader ended before step {step} of {steps}")
                    self._step(step, batch, waited=self.progress.clock() - before)
            finally:
                self.progress.close()
                if isinstance(batches, Generator):
                    batches.close()  # ends the loader's processes now, not when a traceback is dropped
        if self.processes.is_main:
            self.metrics.write()

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
        return int(state.step)

    def _step(self, step: int, batch: Mapping[str, Batch], waited: float) -> None:
        done = step + 1
        log_due = done % self.job.settings.log_every == 0 or done == self.parameters.steps
        factor = learning_rate_factor(self.parameters, step)
        set_learning_rates(self.optimisers, factor)
        outcome = self.runner.run(step, batch, count_classes=log_due)
        self._update(step, batch, outcome)
        stop = self.job.stop()
        # Flags of the step before: the device has long finished them, so nothing waits.
        wrong, stopping, due = self._agree(self.watch.complaint(), stop is not None, self._state_due(done))
        self._refuse(wrong)
        names, values = parts_of(outcome.values)
        self.metrics.add(done, self.parameters.optimiser.lr * factor, names, values)
        self.watch.submit(done, *parts_of(outcome.values | self._gradient_norms()), _samples(batch))
        self.progress.advance(done, waited)
        save = due or stopping or done == self.parameters.steps
        if save or log_due or done in self.snapshots:
            self._refuse(self._agree(self.watch.complaint())[0])
            self.metrics.flush(self.processes)
        if done in self.snapshots:
            self._snapshot(done)
        if log_due:
            self.progress.report(self._facts(outcome, factor))
        if save:
            self._save(done)
        if stopping and done < self.parameters.steps:
            raise Interrupted(stop or "another process was asked to stop")

    def _update(self, step: int, batch: Mapping[str, Batch], outcome: StepOutcome) -> None:
        """Let the optimisers make their step with the gradients of `outcome`."""
        if not outcome.values:
            raise SegadaptError(
                f"method {self.parameters.method} has nothing to learn from: none of its domains "
                f"({', '.join(self.learner.method.domains)}) has images"
            )
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.learner.method.after_step(self.runner.modules, self.runner.context_after(step, batch))

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
        return by_steps or self.progress.clock() - self.saved_at >= 60.0 * settings.state_minutes

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
            refuse_non_finite(self.learner.network.state_dict(), done)
            self.job.snapshot(done)

    def _save(self, done: int) -> None:
        self.saved_at = self.progress.clock()
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
        names = self.learner.class_names or tuple(str(index) for index in range(len(counts)))
        shares = sorted(zip((count / total for count in counts), names, strict=True), reverse=True)
        share, name = shares[0]
        if share > COLLAPSE_SHARE:
            self.progress.warn(
                "%.1f %% of the target's pixels are predicted as %s: the network may have collapsed",
                *(100 * share, name),
            )
        return "target " + " ".join(f"{name} {100 * share:.1f}%" for share, name in shares if share >= 0.0005)


def _samples(batch: Mapping[str, Batch]) -> dict[str, tuple[str, ...]]:
    return {name: one.names for name, one in batch.items()}
