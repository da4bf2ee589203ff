"""One optimiser step's gradient: micro-batches, a method's terms in order, sums over processes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Term
from pipeline.networks.normalise import normalise
from pipeline.networks.placement import layout_of
from pipeline.numerics import IGNORE
from pipeline.numerics.compiling import compiling
from pipeline.numerics.precision import autocast, products
from pipeline.numerics.randomness import derived_seed
from pipeline.training.distributed import SINGLE, Processes
from pipeline.training.learner import Learner
from pipeline.training.optimisers import trained_tensors


@dataclass
class StepOutcome:
    """What a step leaves on the device: `values` by term and summand, and predicted classes where asked for.

    `class_counts`: int64 (K,), pixels of the target per predicted class in this process's images, or None.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    class_counts: Tensor | None = None

    def add(self, term: Term) -> None:
        """Add a micro-batch's term and its summands."""
        for name, value in ({term.name: term.value} | dict(term.summands)).items():
            value = value.detach().float()
            self.values[name] = self.values[name] + value if name in self.values else value

    def count_classes(self, logits: Tensor) -> None:
        """Add the predicted classes of logits (B, K, h, w)."""
        classes = logits.argmax(dim=1).flatten()
        counts = torch.bincount(classes, minlength=logits.shape[1])
        self.class_counts = counts if self.class_counts is None else self.class_counts + counts


class StepRunner:
    """Computes the gradient of one step after another; it never steps an optimiser."""

    def __init__(self, learner: Learner, device: torch.device, processes: Processes = SINGLE) -> None:
        """ConfigError where the processes cannot share a batch."""
        self.learner, self.device, self.processes = learner, device, processes
        self.parameters, self.modules = learner.parameters, learner.modules
        self.trained = {name: list(trained_tensors(module).values()) for name, module in self.modules.items()}
        self.layout = layout_of(learner.network, device)
        self.parameters.check_processes(processes.world, "train")
        if self.parameters.compile:
            learner.network.compile(dynamic=False)

    def run(self, step: int, batch: Mapping[str, Batch], count_classes: bool = False) -> StepOutcome:
        """Leave the gradient of step `step` in every trained tensor, and return the values of its terms."""
        for tensors in self.trained.values():
            for tensor in tensors:
                tensor.grad = None
        moved = {name: one.to(self.device) for name, one in batch.items()}
        valid = self._valid_pixels(moved)
        outcome = StepOutcome()
        with products(self.parameters.precision):
            for number in range(self.parameters.accumulation):
                for term in self._terms(step, number, moved, valid):
                    tensors = [tensor for name in term.updates for tensor in self.trained[name]]
                    # Only `tensors` collect gradient; what leads to other modules' weights is not even computed.
                    gradients = torch.autograd.grad(term.value * term.weight, tensors, allow_unused=True)
                    add_gradients(tensors, gradients)
                    outcome.add(term)
                    if count_classes and term.target_logits is not None:
                        outcome.count_classes(term.target_logits)
        for tensors in self.trained.values():
            self.processes.sum_([tensor.grad for tensor in tensors if tensor.grad is not None])
        return outcome

    def context_after(self, step: int, batch: Mapping[str, Batch]) -> Context:
        """Return the context that `after_step` gets: no micro-batch, no counts."""
        return self._context(step, {}, {}, batch)

    def _valid_pixels(self, moved: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Count each domain's labelled pixels over the whole step, over all processes."""
        labels = {name: one.labels for name, one in moved.items() if one.labels is not None}
        if not labels:
            return {}
        counts = torch.stack([(value != IGNORE).sum() for value in labels.values()])
        self.processes.sum_([counts])
        return dict(zip(labels, counts.float().unbind(), strict=True))

    def _terms(
        self, step: int, number: int, moved: Mapping[str, Batch], valid: Mapping[str, Tensor]
    ) -> Iterator[Term]:
        """Yield the terms of micro-batch `number`; the method runs under autocast, backward passes outside."""
        micro = {name: self._micro_batch(one, number) for name, one in moved.items()}
        context = self._context(step, valid, micro, moved)
        context = replace(context, slots=self._slots(number), seed=self.learner.seed)
        self._seed(step, number)
        terms = self.learner.method.terms(self.modules, micro, context)
        while True:
            with (
                autocast(self.parameters.precision, self.device),
                compiling(self.parameters.compile),
            ):
                term = next(terms, None)
            if term is None:
                return
            yield term

    def _slots(self, number: int) -> range:
        """Return the slots of the step that micro-batch `number` of this process has."""
        own = self.processes.slots(self.parameters.batch)
        size = len(own) // self.parameters.accumulation
        return own[number * size : (number + 1) * size]

    def _micro_batch(self, batch: Batch, number: int) -> Batch:
        """Cut one micro-batch out of a domain's step, and make of it what a method gets."""
        size = len(batch) // self.parameters.accumulation
        micro = batch[number * size : (number + 1) * size]
        images = normalise(micro.images.contiguous(memory_format=self.layout), self.learner.network.profile)
        return replace(micro, images=images, labels=None if micro.labels is None else micro.labels.long())

    def _context(
        self,
        step: int,
        valid: Mapping[str, Tensor],
        micro: Mapping[str, Batch],
        batch: Mapping[str, Batch],
    ) -> Context:
        world = self.processes.world
        return Context(
            step=step,
            valid_pixels=valid,
            image_share={name: len(one) / (len(batch[name]) * world) for name, one in micro.items()},
            num_classes=self.learner.network.num_classes,
            things=self.learner.things,
        )

    def _seed(self, step: int, number: int) -> None:
        """Seed dropout for one micro-batch, so that a resumed training draws the same numbers."""
        torch.manual_seed(derived_seed(self.learner.seed, "forward", step, self.processes.rank, number))


def add_gradients(tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Add gradients to those that the tensors hold, all by one call; None adds nothing.

    Each is kept in its tensor's order of memory, which fused optimisers take for granted.
    """
    new = [
        (tensor, _ordered_as(tensor, gradient))
        for tensor, gradient in zip(tensors, gradients, strict=True)
        if gradient is not None
    ]
    held = [(tensor.grad, gradient) for tensor, gradient in new if tensor.grad is not None]
    # Not in place: a gradient may be another tensor's too.
    sums = iter(torch._foreach_add(*zip(*held, strict=True)) if held else ())
    for tensor, gradient in new:
        tensor.grad = gradient if tensor.grad is None else next(sums)


def _ordered_as(tensor: Tensor, gradient: Tensor) -> Tensor:
    """The gradient, copied where its order of memory is another than the tensor's."""
    steps = zip(tensor.shape, tensor.stride(), gradient.stride(), strict=True)
    same = all(own == other or length == 1 for length, own, other in steps)
    return gradient if same else torch.empty_like(tensor).copy_(gradient)
