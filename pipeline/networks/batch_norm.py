"""The three BatchNorm modes of training, `docs/networks.md`; evaluation always uses running statistics.

| mode | scale and shift | training forward uses | running statistics |
|---|---|---|---|
| `frozen` | constant | running statistics | constant |
| `batch_frozen_affine` | constant | the batch's statistics | updated |
| `train` | trained | the batch's statistics | updated |
"""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.networks.parameters import BatchNormMode


class UncountedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that leaves `num_batches_tracked` alone: nothing reads it, and each count would be a kernel."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            cast(float, self.momentum),
            self.eps,
        )


def install_mode(network: nn.Module, mode: BatchNormMode) -> None:
    """Freeze or free scale and shift of a network's BatchNorm layers, as the mode says."""
    for layer in batch_norm_layers(network):
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = UncountedBatchNorm2d
        layer.weight.requires_grad_(mode == "train")
        layer.bias.requires_grad_(mode == "train")


def apply_mode(network: nn.Module, mode: BatchNormMode) -> None:
    """Correct the BatchNorm layers after `nn.Module.train` treated them like all others."""
    if mode == "frozen":
        for layer in batch_norm_layers(network):
            layer.eval()


def synchronise(network: nn.Module, mode: BatchNormMode) -> nn.Module:
    """Compute batch statistics over all processes where the mode means the whole batch (`train`).

    `batch_frozen_affine` is defined on one image per forward pass.
    """
    if mode != "train":
        return network
    if any(type(layer).__module__.startswith("timm.") for layer in batch_norm_layers(network)):
        from timm.layers import convert_sync_batchnorm  # torch's would lose the activations in timm's layers

        converted: nn.Module = convert_sync_batchnorm(network)
        return converted
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def batch_norm_layers(network: nn.Module) -> list[_BatchNorm]:
    """All BatchNorm layers of a module, itself included."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
