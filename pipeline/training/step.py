"""One optimiser step's gradient: micro-batches, a method's terms in order, sums over processes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.methods.base import Context, DeviceBatch, Method, Term
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.normalise import normalise
from pipeline.numerics.randomness import derived_seed
from pipeline.training.distributed import SINGLE, Processes
from pipeline.training.optimisers import trained_tensors
from pipeline.training.parameters import TrainParameters

if TYPE_CHECKING:
    from pipeline.data.loading import StepBatch

IGNORE = 255


@dataclass
class StepOutcome:
    """What a step leaves on the device: `values` by term and part, and predicted classes where asked for.

    `class_counts`: int64 (K,), pixels of the target per predicted class in this process's images, or None.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    class_counts: Tensor | None = None

    def add(self, term: Term) -> None:
        """Add a micro-batch's term and its parts."""
        for name, value in ({term.name: term.value} | dict(term.parts)).items():
            value = value.detach().float()
            self.values[name] = self.values[name] + value if name in self.values else value


class StepRunner:
    """Computes the gradient of one step after another; it never steps an optimiser."""

    def __init__(
        self,
        network: SegmentationNetwork,
        modules: Mapping[str, nn.Module],
        method: Method,
        parameters: TrainParameters,
        device: torch.device,
        seed: int,
        processes: Processes = SINGLE,
    ) -> None:
        self.network, self.method, self.parameters = network, method, parameters
        self.modules: dict[str, nn.Module] = {"network": network, **modules}
        self.trained = {name: list(trained_tensors(module).values()) for name, module in self.modules.items()}
        self.device, self.seed, self.processes = device, seed, processes

    def run(self, step: int, batch: Mapping[str, "StepBatch"], count_classes: bool = False) -> StepOutcome:
        """Leave the gradient of step `step` in every trained tensor, and return the values of its terms."""
        for tensors in self.trained.values():
            for tensor in tensors:
                tensor.grad = None
        images = {name: part.images.to(self.device, non_blocking=True) for name, part in batch.items()}
        labels = {
            name: part.labels.to(self.device, non_blocking=True)
            for name, part in batch.items()
            if part.labels is not None
        }
        valid = self._valid_pixels(labels)
        outcome = StepOutcome()
        for part in range(self.parameters.accumulation):
            micro = self._micro_batch(part, batch, images, labels)
            context = self._context(step, valid, micro, batch)
            self._seed(step, part)
            self._backward_terms(micro, context, outcome, count_classes)
        for tensors in self.trained.values():
            self.processes.sum_([tensor.grad for tensor in tensors if tensor.grad is not None])
        return outcome

    def _seed(self, step: int, part: int) -> None:
        """Seed dropout for one micro-batch, so that a resumed training draws the same numbers."""
        torch.manual_seed(derived_seed(self.seed, "forward", step, self.processes.rank, part))

    def context_after(self, step: int, batch: Mapping[str, "StepBatch"]) -> Context:
        """Return the context that `after_step` gets: no micro-batch, no counts."""
        return self._context(step, {}, {}, batch)

    def _valid_pixels(self, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Count each domain's labelled pixels over the whole step, over all processes."""
        if not labels:
            return {}
        counts = torch.stack([(value != IGNORE).sum() for value in labels.values()])
        self.processes.sum_([counts])
        return dict(zip(labels, counts.float().unbind(), strict=True))

    def _micro_batch(
        self,
        part: int,
        batch: Mapping[str, "StepBatch"],
        images: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
    ) -> dict[str, DeviceBatch]:
        micro = {}
        for name, step_batch in batch.items():
            size = len(step_batch.names) // self.parameters.accumulation
            cut = slice(part * size, (part + 1) * size)
            pixels = normalise(images[name][cut], self.network.profile)
            if self.device.type == "cuda":
                pixels = pixels.contiguous(memory_format=torch.channels_last)
            extras = {
                key: value[cut].to(self.device, non_blocking=True) for key, value in step_batch.extras.items()
            }
            own_labels = labels[name][cut].long() if name in labels else None
            micro[name] = DeviceBatch(pixels, own_labels, tuple(step_batch.names[cut]), extras)
        return micro

    def _context(
        self,
        step: int,
        valid: Mapping[str, Tensor],
        micro: Mapping[str, DeviceBatch],
        batch: Mapping[str, "StepBatch"],
    ) -> Context:
        world = self.processes.world
        return Context(
            step=step,
            valid_pixels=valid,
            image_share={
                name: len(part.names) / (len(batch[name].names) * world) for name, part in micro.items()
            },
            num_classes=self.network.num_classes,
        )

    def _backward_terms(
        self, micro: Mapping[str, DeviceBatch], context: Context, outcome: StepOutcome, count_classes: bool
    ) -> None:
        for term in self._terms(micro, context):
            inputs = [tensor for name in term.updates for tensor in self.trained[name]]
            # Only `inputs` collect gradient; what leads to other modules' weights is not even computed.
            torch.autograd.backward(term.value * term.weight, inputs=inputs)
            outcome.add(term)
            if count_classes and term.target_logits is not None:
                self._count_classes(term.target_logits, outcome)

    def _terms(self, micro: Mapping[str, DeviceBatch], context: Context) -> Iterator[Term]:
        """Yield the method's terms; its code runs under autocast, the backward passes outside."""
        terms = self.method.terms(self.modules, micro, context)
        low = self.parameters.precision == "bfloat16"
        while True:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low):
                term = next(terms, None)
            if term is None:
                return
            yield term

    def _count_classes(self, logits: Tensor, outcome: StepOutcome) -> None:
        classes = logits.argmax(dim=1).flatten()
        counts = torch.bincount(classes, minlength=self.network.num_classes)
        outcome.class_counts = counts if outcome.class_counts is None else outcome.class_counts + counts
