"""One forward pass of a discriminator on the target serves the network's term and its own."""

import pytest
import torch
from torch import nn
from toys import fill_

from pipeline.methods.discriminators import answers_on
from pipeline.networks.discriminator import FCDiscriminator

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 32, 48, generator=GENERATOR)


def setting() -> tuple[nn.Module, torch.Tensor]:
    discriminator = FCDiscriminator(3, width=4)
    fill_(discriminator)
    return discriminator, LOGITS.clone().requires_grad_()


def test_both_sides_have_the_gradients_of_two_passes() -> None:
    discriminator, logits = setting()
    maps = logits.softmax(dim=1)
    answers = answers_on({"discriminator_main": discriminator}, {"main": maps})["main"]
    (of_logits,) = torch.autograd.grad(answers.to_network.square().mean(), logits)
    of_weights = torch.autograd.grad(answers.to_discriminator.exp().mean(), list(discriminator.parameters()))

    discriminator, logits = setting()
    wanted = torch.autograd.grad(discriminator(logits.softmax(dim=1)).square().mean(), logits)
    assert torch.equal(of_logits, wanted[0]) and of_logits.abs().max() > 0
    alone = discriminator(logits.softmax(dim=1).detach()).exp().mean()
    for found, expected in zip(
        of_weights, torch.autograd.grad(alone, list(discriminator.parameters())), strict=True
    ):
        assert torch.equal(found, expected)


def test_a_side_does_not_reach_the_other() -> None:
    discriminator, logits = setting()
    answers = answers_on({"discriminator_main": discriminator}, {"main": logits.softmax(dim=1)})["main"]
    assert torch.equal(answers.to_network, answers.to_discriminator)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(answers.to_network.sum(), list(discriminator.parameters()), retain_graph=True)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(answers.to_discriminator.sum(), logits)


def test_each_level_is_looked_at_once() -> None:
    modules, looks = {}, []
    for level in ("main", "aux"):
        modules[f"discriminator_{level}"], logits = setting()
        modules[f"discriminator_{level}"].register_forward_hook(lambda *_, level=level: looks.append(level))
    answers_on(modules, {"main": logits, "aux": logits})
    assert looks == ["main", "aux"]
