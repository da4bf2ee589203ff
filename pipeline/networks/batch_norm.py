"""The four BatchNorm modes of training, `docs/networks.md`; evaluation always uses running statistics.

| mode | scale and shift | training forward uses | running statistics |
|---|---|---|---|
| `frozen` | constant | running statistics | constant |
| `batch_frozen_affine` | constant | the batch's statistics | updated |
| `train` | trained | the batch's statistics | updated |
| `per_domain` | trained, shared | the batch's statistics | updated, one set per domain |
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.parameters import BatchNormMode

DomainName = Literal["source", "target"]
DOMAINS: tuple[DomainName, ...] = ("source", "target")
TARGET_BUFFERS = ("target_running_mean", "target_running_var", "target_num_batches_tracked")


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


class DomainBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with one set of running statistics for the source and one for the target.

    The usual buffers hold the source's set. Outside a domain context an evaluation reads the target's set,
    or the source's where no target batch has ever been forwarded in training.
    """

    target_running_mean: Tensor
    target_running_var: Tensor
    target_num_batches_tracked: Tensor

    def __init__(self, num_features: int, eps: float, momentum: float | None) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.register_buffer("target_running_mean", torch.zeros(num_features))
        self.register_buffer("target_running_var", torch.ones(num_features))
        self.register_buffer("target_num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self.domain: DomainName | None = None
        self.evaluation_domain: DomainName = "source"

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, h, w) with the statistics of the active domain."""
        if self.domain is None and self.training:
            raise ConfigError(
                "batch_norm: per_domain needs a method that names the domain of each forward pass "
                "(`with network.domain(...)`); choose another method or another batch_norm mode"
            )
        domain = self.domain or self.evaluation_domain
        mean, var, count = self._statistics(domain)
        if self.training:
            count.add_(1)
        # In evaluation `training=False` makes mean and var read-only.
        return F.batch_norm(
            input, mean, var, self.weight, self.bias, self.training, cast(float, self.momentum), self.eps
        )

    def _statistics(self, domain: DomainName) -> tuple[Tensor, Tensor, Tensor]:
        if domain == "target":
            return self.target_running_mean, self.target_running_var, self.target_num_batches_tracked
        return (
            cast(Tensor, self.running_mean),
            cast(Tensor, self.running_var),
            cast(Tensor, self.num_batches_tracked),
        )


def install_mode(network: nn.Module, mode: BatchNormMode) -> None:
    """Prepare a network for a mode: convert its BatchNorm layers, freeze or free scale and shift."""
    if mode == "per_domain":
        _convert(network)
    for layer in batch_norm_layers(network):
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = UncountedBatchNorm2d
    trained = mode in ("train", "per_domain")
    for layer in batch_norm_layers(network):
        layer.weight.requires_grad_(trained)
        layer.bias.requires_grad_(trained)


def apply_mode(network: nn.Module, mode: BatchNormMode, training: bool) -> None:
    """Correct the BatchNorm layers after `nn.Module.train(training)` treated them like all others."""
    if mode == "frozen":
        for layer in batch_norm_layers(network):
            layer.eval()
    if not training:
        _choose_evaluation_domain(network)


def synchronise(network: nn.Module, mode: BatchNormMode) -> nn.Module:
    """Compute batch statistics over all processes where the mode means the whole batch (`train`).

    `batch_frozen_affine` is defined on one image per forward pass and `per_domain` on each process's batch.
    """
    return nn.SyncBatchNorm.convert_sync_batchnorm(network) if mode == "train" else network


@contextmanager
def active_domain(network: nn.Module, name: str) -> Iterator[None]:
    """Select the domain of all per-domain layers of `network`, and restore the one before."""
    if name not in DOMAINS:
        raise ValueError(f"unknown domain {name!r}; BatchNorm knows {', '.join(DOMAINS)}")
    layers = _domain_layers(network)
    before = [layer.domain for layer in layers]
    for layer in layers:
        layer.domain = name
    try:
        yield
    finally:
        for layer, domain in zip(layers, before, strict=True):
            layer.domain = domain


def copy_source_statistics(network: nn.Module) -> None:
    """Start the target's running statistics from the source's (after loading weights with one set)."""
    for layer in _domain_layers(network):
        layer.target_running_mean.copy_(cast(Tensor, layer.running_mean))
        layer.target_running_var.copy_(cast(Tensor, layer.running_var))


def batch_norm_layers(network: nn.Module) -> list[_BatchNorm]:
    """All BatchNorm layers of a module, itself included."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def _domain_layers(network: nn.Module) -> list[DomainBatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, DomainBatchNorm2d)]


def _choose_evaluation_domain(network: nn.Module) -> None:
    layers = _domain_layers(network)
    if not layers:
        return
    # One read from the device per switch to evaluation; all layers see the same batches.
    seen = int(layers[0].target_num_batches_tracked) > 0
    for layer in layers:
        layer.evaluation_domain = "target" if seen else "source"


def _convert(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _per_domain(child))
        else:
            _convert(child)


def _per_domain(layer: nn.BatchNorm2d) -> DomainBatchNorm2d:
    converted = DomainBatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    converted.load_state_dict(layer.state_dict(), strict=False)
    copy_source_statistics(converted)
    return converted
