"""The mean teacher: a copy of the network that follows it slowly (Tarvainen and Valpola, NeurIPS 2017)."""

from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.two_resolutions import TwoResolutions


class Teacher(nn.Module):
    """A network whose weights are the exponential moving average of another's, without gradient, dropout or droppath.

    `t` counts the updates; it is a buffer, so that a resumed training goes on where it was. BatchNorm as DAFormer has
    it: where the network trains with the batch's statistics so does the teacher, and its running statistics follow its
    own passes; they are not averaged.
    """

    t: Tensor

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = deepcopy(network).requires_grad_(False)
        if isinstance(self.network, TwoResolutions):
            self.network.everywhere = True
        self.register_buffer("t", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        """Switch as the network does, but for dropout and stochastic depth, which stay off."""
        super().train(mode)
        for module in self.modules():
            # timm is imported for its own networks alone.
            if isinstance(module, _DropoutNd) or type(module).__name__ == "DropPath":
                module.eval()
        return self

    @torch.no_grad()
    def follow(self, student: SegmentationNetwork, decay: float) -> None:
        """Average the student's weights in: the teacher keeps `min(1 - 1 / (t + 1), decay)`.

        Nothing waits for the device. Source: DAFormer, released code; `t` are the steps made.
        """
        self.t += 1
        new_share = torch.clamp(1.0 / (self.t + 1).float(), min=1.0 - decay)
        kept, new = [[tensor.detach() for tensor in one.parameters()] for one in (self.network, student)]
        change = torch._foreach_sub(new, kept)
        torch._foreach_mul_(change, new_share)
        torch._foreach_add_(kept, change)
