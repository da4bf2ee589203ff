"""Gradients of several terms: sums, tensors that a term does not reach, and the order of memory."""

import pytest
import torch
from torch import nn
from toys import ToyNetwork, toy_parameters

from pipeline.training.optimisers import build_network_optimiser
from pipeline.training.step import add_gradients


def tensors() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), ())]


def test_gradients_are_summed_and_absent_ones_add_nothing() -> None:
    held = tensors()
    add_gradients(held, [torch.ones(2, 3), None, torch.tensor(5.0)])
    assert held[1].grad is None
    add_gradients(held, [torch.full((2, 3), 2.0), torch.ones(4), None])
    add_gradients(held, [None, None, None])
    found = [tensor.grad for tensor in held]
    for gradient, value in zip(found, (3.0, 1.0, 5.0), strict=True):
        assert gradient is not None and torch.equal(gradient, torch.full_like(gradient, value))


def test_a_gradient_of_two_tensors_is_not_summed_twice() -> None:
    held = [nn.Parameter(torch.zeros(3)) for _ in range(2)]
    shared = torch.ones(3)
    add_gradients(held, [shared, shared])
    add_gradients(held, [shared, shared])
    assert [tensor.grad.tolist() for tensor in held if tensor.grad is not None] == [[2.0] * 3] * 2
    assert shared.tolist() == [1.0] * 3


@pytest.mark.parametrize("last", [torch.channels_last, torch.contiguous_format])
def test_a_gradient_has_its_tensors_order_of_memory(last: torch.memory_format) -> None:
    tensor = nn.Parameter(torch.zeros(2, 3, 4, 5).to(memory_format=last))
    gradient = torch.arange(120.0).reshape(2, 3, 4, 5)
    for given in (gradient, gradient.to(memory_format=torch.channels_last)):
        tensor.grad = None
        add_gradients([tensor], [given])
        assert tensor.grad is not None and torch.equal(tensor.grad, gradient)
        assert tensor.grad.stride() == tensor.stride()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_order_of_memory_changes_no_step(kind: str) -> None:
    """A fused optimiser walks through memory: it would mix up the elements of tensors in different orders."""
    results = []
    for order in (torch.contiguous_format, torch.channels_last):
        network = ToyNetwork().to(memory_format=order)
        optimiser = build_network_optimiser(network, toy_parameters(optimiser={"kind": kind}).optimiser)
        held = [tensor for tensor in network.parameters() if tensor.requires_grad]
        for step in range(3):
            for tensor in held:
                tensor.grad = None
            numbers = [torch.arange(float(tensor.numel())) + step for tensor in held]
            add_gradients(held, [n.sin().reshape(t.shape) for n, t in zip(numbers, held, strict=True)])
            optimiser.step()
        results.append([tensor.detach() for tensor in held])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize(("device", "form"), [("cpu", "fused"), ("meta", "foreach")])
def test_optimisers_step_all_tensors_at_once(device: str, form: str) -> None:
    network = ToyNetwork().to(device)
    for kind in ("sgd", "adamw"):
        optimiser = build_network_optimiser(network, toy_parameters(optimiser={"kind": kind}).optimiser)
        assert optimiser.defaults[form] is True
