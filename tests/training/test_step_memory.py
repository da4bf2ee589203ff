"""The estimate of a step's memory against the allocator of a real step, and by hand where that can be."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import profile
from torch.utils.checkpoint import checkpoint
from toys import toy_parameters

from pipeline.data.batch import Batch
from pipeline.methods.registry import build_method
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.training.learner import Learner
from pipeline.training.step import StepRunner
from pipeline.training.step_flops import CountedFlops
from pipeline.training.step_memory import (
    LiveBytes,
    StepMemory,
    _in_bfloat16,
    fused_attention,
    step_memory,
)

NETWORK = NetworkParameters(backbone="small")
CLASSES, SIZE = 5, (128, 96)
FACTOR = 1.25
"""Kernels of the CPU allocate for themselves, which the estimate does not see."""


def estimate(method: str = "minent", **values: Any) -> StepMemory:
    parameters = toy_parameters(method, **values)
    sizes = dict.fromkeys(parameters.objective.domains(), SIZE)
    return step_memory(NETWORK, CLASSES, parameters, sizes, frozenset({"source"}))


def allocated(method: str) -> int:
    """The most that a real step on the CPU holds, as torch's allocator tells the profiler."""
    parameters = toy_parameters(method)
    network, made = build_network(NETWORK, CLASSES, seed=0), build_method(method, parameters.objective)
    learner = Learner(network, made.build_modules(network, CLASSES), made, parameters, 0)
    images = torch.zeros(2, 3, SIZE[1], SIZE[0], dtype=torch.uint8)
    labels = torch.zeros(2, SIZE[1], SIZE[0], dtype=torch.uint8)
    batch = {
        name: Batch(images, labels if name == "source" else None, ("a", "b"))
        for name in parameters.objective.domains()
    }
    runner = StepRunner(learner, torch.device("cpu"))
    with profile(profile_memory=True) as found:
        runner.run(0, batch)
    results = found.profiler.kineto_results
    changes = [one for one in results.events() if one.name() == "[memory]"]
    now = most = 0
    for one in sorted(changes, key=lambda one: one.start_ns()):
        now += one.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("method", ["minent", "mean_teacher"])
def test_the_estimate_is_near_what_a_real_step_allocates(method: str) -> None:
    found, real = estimate(method).step, allocated(method)
    assert real / FACTOR < found < real * FACTOR


def test_weights_and_optimisers_are_counted_by_hand() -> None:
    network = build_network(NETWORK, CLASSES, seed=0)
    trained = sum(tensor.numel() for tensor in network.parameters() if tensor.requires_grad)
    all_numbers = sum(tensor.numel() for tensor in [*network.parameters(), *network.buffers()])
    sgd, adamw = estimate(optimiser={"kind": "sgd"}), estimate(optimiser={"kind": "adamw"})
    assert (sgd.trained, sgd.weights, sgd.optimiser) == (trained, 4 * all_numbers, 4 * trained)
    assert adamw.optimiser == 2 * sgd.optimiser
    assert estimate("mean_teacher").weights == 2 * sgd.weights + 4  # the teacher, and its count
    assert sgd.peak == sgd.weights + sgd.optimiser + sgd.step


def test_more_images_and_wider_numbers_need_more() -> None:
    assert 1.8 < estimate(batch=8).step / estimate(batch=4).step < 2.2
    assert 0.4 < estimate(batch=8, precision="bfloat16").step / estimate(batch=8).step < 0.9
    assert estimate(batch=8, accumulation=4).step < 0.5 * estimate(batch=8).step


def test_what_is_dropped_is_counted_no_more() -> None:
    with LiveBytes() as live:
        kept: list[Tensor] = [torch.empty(1000)]
        for _ in range(3):
            torch.empty(500)
        view = kept[0].view(10, 100)
    assert (live.now, live.peak, len(view)) == (4000, 6000, 10)


def attended(tokens: int, repeated: bool) -> int:
    """Bytes at the peak of forward and backward of attention over so many tokens."""
    with torch.device("meta"):
        numbers = [torch.empty(1, 6, tokens, 64, requires_grad=True) for _ in range(3)]
    attention = F.scaled_dot_product_attention
    with LiveBytes() as live, fused_attention():
        if repeated:
            result = checkpoint(lambda *q: F.scaled_dot_product_attention(*q), *numbers, use_reentrant=False)
        else:
            result = F.scaled_dot_product_attention(*numbers)
        torch.autograd.grad(result.sum(), numbers)
    assert F.scaled_dot_product_attention is attention
    return live.peak


@pytest.mark.parametrize("repeated", [False, True])
def test_attention_keeps_no_pairs_of_tokens(repeated: bool) -> None:
    assert attended(8000, repeated) < 2.1 * attended(4000, repeated) < 2.1 * 20 * 4000 * 6 * 64 * 4


@pytest.mark.parametrize(("groups", "full"), [(1, 8), (8, 1)])
def test_products_are_counted_by_hand(groups: int, full: int) -> None:
    """A convolution, its two gradients, and a product whose input needs none."""
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
    images, matrix = torch.ones(2, 8, 5, 7, requires_grad=True), torch.ones(7, 3, requires_grad=True)
    with CountedFlops() as counted:
        made = layer(images)
        once = 2 * 2 * 8 * full * 9 * 5 * 7
        assert counted.total == once
        product = made.detach().reshape(-1, 7) @ matrix
        torch.autograd.grad(made.sum() + product.sum(), [images, layer.weight, matrix])
    assert counted.total == 3 * once + 2 * (2 * 80 * 7 * 3)


def test_masks_stay_what_they_are_where_numbers_are_narrowed() -> None:
    chosen = nn.Bilinear(2, 2, 2)
    chosen.forward = lambda images, mask: (images.dtype, mask.dtype)  # type: ignore[method-assign,assignment]
    _in_bfloat16(chosen)
    assert chosen(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)) == (torch.bfloat16, torch.bool)
