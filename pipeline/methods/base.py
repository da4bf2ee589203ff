"""What the training loop knows of a method: named terms, each with the modules that it updates.

A method is one module in this folder, a parameters class in `parameters.py`, and a line in `registry.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor, nn

from pipeline.data.batch import Batch
from pipeline.methods.objective import ObjectiveParameters
from pipeline.numerics.randomness import Draws, tag

if TYPE_CHECKING:
    from pipeline.networks.base import SegmentationNetwork


@dataclass(frozen=True)
class Term:
    """One summand of the objective.

    `value` is a scalar float32 tensor that already holds the *global* normalisation: summed over
    micro-batches and processes it is the term's value for the step. Its gradient times `weight` reaches
    only the modules named in `updates`; all others are constants for this term.
    `summands`: detached summands of the value, for the metrics alone. `target_logits`: detached logits
    (B, K, h, w) of unlabelled target images, from which the loop counts predicted classes at log lines.
    """

    name: str
    value: Tensor
    weight: float
    updates: tuple[str, ...] = ("network",)
    summands: Mapping[str, Tensor] = field(default_factory=dict)
    target_logits: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """Where a micro-batch stands inside its optimiser step, and the global counts of that step.

    `valid_pixels[domain]`: labelled (not ignored) pixels of the domain's whole step, over micro-batches and
    processes, float32 scalar on the device, at least 0. `image_share[domain]`: images of this micro-batch
    divided by the images of the domain's whole step, so `mean over the micro-batch * image_share` sums to the
    global mean. `slots`: which of the step's images this micro-batch has, in order; `seed`: of all draws.
    `things`: ids of the classes of countable objects, for an objective that asks for them.
    """

    step: int
    valid_pixels: Mapping[str, Tensor]
    image_share: Mapping[str, float]
    num_classes: int
    slots: Sequence[int] = ()
    seed: int = 0
    things: Sequence[int] = ()

    def draws(self, purpose: str) -> list[Draws]:
        """Make the random draws of each image: functions of seed, step and slot alone."""
        return [Draws([self.seed, tag(purpose), self.step, slot]) for slot in self.slots]

    def pixel_mean(self, total: Tensor, domain: str) -> Tensor:
        """Divide a sum over labelled pixels by the step's global count; 0 (differentiable) without any."""
        return total / torch.clamp(self.valid_pixels[domain], min=1.0)


Parameters = TypeVar("Parameters", bound=ObjectiveParameters)


class Method(Generic[Parameters]):
    """The objective of a training stage; a method without modules of its own writes `terms` alone."""

    domains: tuple[str, ...]
    """Domains that the method reads each step, in the order of the forward passes."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.domains = parameters.domains()

    def build_modules(self, network: "SegmentationNetwork", num_classes: int) -> dict[str, nn.Module]:
        """Make the auxiliary modules (discriminators, teachers) by name; none unless a method has some."""
        return {}

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield the objective term by term; the loop runs each backward pass before asking for the next.

        `modules` holds `network` and the auxiliary modules. A domain that is empty (an empty split) is absent
        from `batch`; its terms are then not yielded.
        """
        raise NotImplementedError

    def after_step(self, modules: Mapping[str, nn.Module], context: Context) -> None:
        """Called once after the optimisers stepped: a mean teacher updates here."""
