"""The mean teacher: a copy of the network that follows it slowly (Tarvainen and Valpola, NeurIPS 2017)."""

from copy import deepcopy
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from pipeline.networks.base import SegmentationNetwork

Buffers = Literal["own_forward", "average"]


class Teacher(nn.Module):
    """A network whose weights are the exponential moving average of another's, without dropout or gradient.

    `t` counts the updates; it is a buffer, so that a resumed training goes on where it was. Buffers: with
    `own_forward` the teacher normalises by each batch and its running statistics follow its own passes (DAFormer);
    with `average` they follow the student's as the weights do, and normalise.
    """

    t: Tensor

    def __init__(self, network: SegmentationNetwork, buffers: Buffers) -> None:
        super().__init__()
        self.network = deepcopy(network).requires_grad_(False)
        self.buffers_rule: Buffers = buffers
        self.register_buffer("t", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        """Switch BatchNorm as the rule says; dropout stays off."""
        super().train(mode and self.buffers_rule == "own_forward")
        for module in self.modules():
            if isinstance(module, _DropoutNd):
                module.eval()
        return self

    @torch.no_grad()
    def follow(self, student: SegmentationNetwork, decay: float) -> None:
        """Average the student in: weights, and statistics under `average`, keep `min(1 - 1 / (t + 1), decay)`.

        Nothing waits for the device. Source: DAFormer, released code; `t` are the steps made.
        """
        self.t += 1
        new_share = torch.clamp(1.0 / (self.t + 1).float(), min=1.0 - decay)
        kept, new = _averaged(self.network, self.buffers_rule), _averaged(student, self.buffers_rule)
        change = torch._foreach_sub(new, kept)
        torch._foreach_mul_(change, new_share)
        torch._foreach_add_(kept, change)


def _averaged(network: nn.Module, rule: Buffers) -> list[Tensor]:
    """List the tensors that are averaged, in the network's order."""
    weights = [tensor.detach() for tensor in network.parameters()]
    if rule == "own_forward":
        return weights
    return [*weights, *(tensor for tensor in network.buffers() if tensor.is_floating_point())]
