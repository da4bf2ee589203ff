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
from torch.overrides import TorchFunctionMode
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


COLOR = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.2, "blur": 1.0}
MASKED = {
    "mask_weight": 1.0,
    "mirrored": True,
    "quality": "image",
    "mix_color": {"probability": 1.0, **COLOR},
}
STEPS: dict[str, tuple[str, dict[str, Any], int]] = {
    **{name: (name, {}, bound) for name, bound in AT_MOST.items()},
    "all of mean_teacher": ("mean_teacher", MASKED, 3_600),
    "things": ("supervised", {"feature_distance": {"where": "things", "weight": 0.1}}, 1_600),
    "everywhere": ("mean_teacher", {"feature_distance": {"where": "everywhere", "weight": 0.1}}, 4_600),
}
"""Method, what its objective sets, and the bound."""
COPIED = {"mean_teacher": 2, "everywhere": 2, "all of mean_teacher": 4}
"""Small tensors that a step copies to the device besides its batch: orders of classes, changes of hue, masks."""
NO_KERNELS = ("aten::detach", "aten::empty.memory_format")
"""Left out of the count: handles that autograd makes of saved tensors, which the dispatcher only sees under a mode
like this one, and the reserve of no bytes of a BatchNorm without cuDNN."""


class Operators(TorchDispatchMode):
    """Counts operators of the device by name, copies from the host, and those that the host waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.copies = 0
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = {leaf.device.type for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        if "meta" in given | made and func.name() not in NO_KERNELS:
            self.counts[func.name()] += 1
        copied = "cpu" in given and "meta" in made
        self.copies += copied
        # A mode sees nothing of `torch.tensor(numbers, device=device)`; `NoNumbers` does.
        is_copy = func.name() in ("aten::_to_copy", "aten::copy_")
        self.waits += copied and is_copy and not (kwargs or {}).get("non_blocking", args[2:] == (True,))
        return result


class NoNumbers(TorchFunctionMode):
    """Refuses tensors of the device that are made of the host's numbers: the host waits until they are there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and result.device == META:
            raise RuntimeError(f"{func.__name__} copies numbers to the device and waits")
        return result


def batch_of(domain: str) -> Batch:
    images = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8, device="cpu")
    labels = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8, device="cpu")
    return Batch(images, labels, (domain,))


def step_of(method_name: str, objective: dict[str, Any]) -> tuple[Callable[[], None], int]:
    """A training step of a method on the meta device, and how many tensors its batch has."""
    parameters = TrainParameters.model_validate(
        {"method": method_name, "steps": 10, "batch": 1, "objective": objective}
    )
    method = build_method(method_name, parameters.objective)
    with META:
        network = construct(
            NetworkParameters(backbone="resnet101_caffe", levels="multi", batch_norm="batch_frozen_affine"),
            CLASSES,
        )
        modules = method.build_modules(network, CLASSES)
    optimisers = build_optimisers(network, modules, parameters)
    runner = StepRunner(Learner(network, modules, method, parameters, seed=0, things=(11, 12)), META)
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


@pytest.mark.parametrize("case", STEPS)
def test_a_step_waits_for_nothing_and_dispatches_few_operators(case: str) -> None:
    method, objective, bound = STEPS[case]
    step, tensors = step_of(method, objective)
    step()  # constants are copied to the device, once
    with NoNumbers(), Operators() as operators:
        step()
    assert operators.waits == 0
    assert operators.copies == tensors + COPIED.get(case, 0)
    assert operators.counts.total() <= bound, operators.counts.most_common(12)


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
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.new_tensor([1.0, 2.0]),
    ],
)
def test_waiting_or_mixing_would_be_seen(wait: Callable[[Tensor], Any]) -> None:
    with NoNumbers(), pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.zeros(3, device="meta"))


def test_a_copy_from_the_host_would_be_seen() -> None:
    with Operators() as operators:
        torch.zeros(3).to("meta", non_blocking=True) + torch.ones(3, device="meta")
    assert (operators.copies, operators.waits) == (1, 0) and operators.counts["aten::add.Tensor"] == 1
    with operators:
        torch.zeros(3).to("meta")
        torch.empty(3, device="meta").copy_(torch.zeros(3))
    assert (operators.copies, operators.waits) == (3, 2)
