"""Putting a module on its device, in the form that trains quickest there; its state dict stays as it is.

| device | form |
|---|---|
| GPU | channels last, the layers as built |
| CPU | channels last, the convolutions of `convolution.py`, frozen BatchNorm folded into the convolution before it |
| CPU, a network with GroupNorm | as built: GroupNorm is slow in channels-last order |
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.batch_norm import UncountedBatchNorm2d
from pipeline.networks.convolution import Geometry, convolve


def place(module: nn.Module, device: torch.device) -> None:
    """Move a module to the device that it trains on, and give it the form of the table above; in place."""
    module.to(device)
    layout = layout_of(module, device)
    module.to(memory_format=layout)
    if device.type == "cpu" and layout == torch.channels_last:
        _quicken(module)


def layout_of(module: nn.Module, device: torch.device) -> torch.memory_format:
    """The order of memory that a module is quick in on a device, its images' too."""
    slow = device.type == "cpu" and any(isinstance(layer, nn.GroupNorm) for layer in module.modules())
    return torch.contiguous_format if slow else torch.channels_last


class QuickConv2d(nn.Conv2d):
    """A convolution with quick gradients on a CPU, and with the frozen BatchNorm that follows it folded in."""

    folded: tuple[nn.BatchNorm2d, ...] = ()
    """The BatchNorm that follows, or none; in a tuple, so that it is no sub-module of this one."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, h, w); under autocast in its dtype."""
        weight, bias = self.weight, self.bias
        for layer in self.folded:
            weight, bias = _fold(weight, bias, layer)
        if torch.is_autocast_enabled("cpu"):
            low = torch.get_autocast_dtype("cpu")
            input, weight, bias = input.to(low), weight.to(low), None if bias is None else bias.to(low)
        return convolve(input, weight, bias, _geometry(self))


class FoldedBatchNorm2d(nn.BatchNorm2d):
    """A frozen BatchNorm that the convolution before it has already applied."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input."""
        return input


def _fold(weight: Tensor, bias: Tensor | None, layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the BatchNorm of running statistics behind it."""
    mean, var = cast(Tensor, layer.running_mean), cast(Tensor, layer.running_var)
    scale = layer.weight * torch.rsqrt(var + layer.eps)
    shift = layer.bias - mean * scale
    return weight * scale.view(-1, 1, 1, 1), shift if bias is None else shift + bias * scale


def _geometry(layer: nn.Conv2d) -> Geometry:
    stride, padding, dilation = (
        cast(tuple[int, int], pair) for pair in (layer.stride, layer.padding, layer.dilation)
    )
    return Geometry(stride, padding, dilation, layer.groups)


def _quicken(module: nn.Module) -> None:
    # A layer's class is replaced, not the layer: whoever holds it, and every tensor's name, stay right.
    for layer in module.modules():
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            layer.__class__ = QuickConv2d
    constant = module.frozen_batch_norm() if isinstance(module, SegmentationNetwork) else []
    frozen = {id(layer) for layer in constant if isinstance(layer, UncountedBatchNorm2d)}
    for convolution, layer in _followed(module):
        if type(convolution) is QuickConv2d and id(layer) in frozen:
            convolution.folded = (cast(nn.BatchNorm2d, layer),)
            layer.__class__ = FoldedBatchNorm2d


def _followed(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Layers with the layer that reads them alone: neighbours in a sequence, `conv<n>` and `bn<n>` of a block."""
    for parent in module.modules():
        children = dict(parent.named_children())
        if isinstance(parent, nn.Sequential):
            yield from pairwise(children.values())
        for name, child in children.items():
            if name.startswith("conv") and (follower := children.get(name.replace("conv", "bn", 1))):
                yield child, follower
