"""Each method's whole step on the meta device: one device, no waiting for it, and few operators.

The meta device has shapes and no numbers. A tensor of another device beside its own is an error there, and so
is whatever makes the host wait for a real device: reading a number, copying back, results whose shape depends
on numbers. A step is what a training makes of it: forward and backward passes, optimisers, `after_step`.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.data.batch import Batch
from pipeline.methods.registry import METHODS, build_method
from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.training.learner import Learner
from pipeline.training.optimisers import build_optimisers, set_learning_rates
from pipeline.training.parameters import TrainParameters
from pipeline.training.step import StepRunner

META = torch.device("meta")
CLASSES = 19
SIZE = 64
AT_MOST = {
    "supervised": 900,
    "minent": 1_750,
    "advent": 2_000,
    "adaptseg": 2_000,
    "ass": 3_100,
    "self_training": 1_800,
    "mean_teacher": 2_300,
}
"""Operators of one step with ResNet-101 and both heads, one image of each domain; PLCA's has a test of its own."""


COPIED = {"mean_teacher": 2}
"""Small tensors that a step copies to the device besides its batch."""
NO_KERNELS = ("aten::detach", "aten::empty.memory_format")
"""Left out of the count: handles that autograd makes of saved tensors, which the dispatcher only sees under a mode
like this one, and the reserve of no bytes of a BatchNorm without cuDNN."""


class Operators(TorchDispatchMode):
    """Counts operators of the device by name, and copies from the host."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = {leaf.device.type for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        if "meta" in given | made and func.name() not in NO_KERNELS:
            self.counts[func.name()] += 1
        self.copies += "cpu" in given and "meta" in made
        return result


def batch_of(domain: str) -> Batch:
    images = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8, device="cpu")
    labels = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8, device="cpu")
    return Batch(images, labels, (domain,))


def step_of(method_name: str) -> tuple[Callable[[], None], int]:
    """A training step of a method on the meta device, and how many tensors its batch has."""
    parameters = TrainParameters.model_validate({"method": method_name, "steps": 10, "batch": 1})
    method = build_method(method_name, parameters.objective)
    with META:
        network = construct(
            NetworkParameters(backbone="resnet101_caffe", levels="multi", batch_norm="batch_frozen_affine"),
            CLASSES,
        )
        modules = method.build_modules(network, CLASSES)
    optimisers = build_optimisers(network, modules, parameters)
    runner = StepRunner(Learner(network, modules, method, parameters, seed=0), META)
    batch = {domain: batch_of(domain) for domain in method.domains}

    def step() -> None:
        set_learning_rates(optimisers, 0.5)
        assert runner.run(0, batch).values
        for optimiser in optimisers.values():
            optimiser.step()
        method.after_step(runner.modules, runner.context_after(0, batch))

    return step, 2 * len(batch)


def test_every_method_has_a_bound() -> None:
    assert {*AT_MOST, "plca"} == set(METHODS)


@pytest.mark.parametrize("method", AT_MOST)
def test_a_step_waits_for_nothing_and_dispatches_few_operators(method: str) -> None:
    step, tensors = step_of(method)
    step()  # constants are copied to the device, once
    with Operators() as operators:
        step()
    assert operators.copies == tensors + COPIED.get(method, 0)
    assert operators.counts.total() <= AT_MOST[method], operators.counts.most_common(12)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x + torch.zeros(3),
        lambda x: torch.stack([x, torch.zeros(3)]),
    ],
)
def test_waiting_or_mixing_would_be_seen(wait: Callable[[Tensor], Any]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.zeros(3, device="meta"))


def test_a_copy_from_the_host_would_be_seen() -> None:
    with Operators() as operators:
        torch.zeros(3).to("meta") + torch.ones(3, device="meta")
    assert operators.copies == 1 and operators.counts["aten::add.Tensor"] == 1
