"""BatchNorm statistics of a trained network, moved towards those of other images (AdaBN, Li et al., ICLRW 2017)."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.batch_norm import batch_norm_layers
from pipeline.networks.normalise import normalise

CHUNK = 8
"""Images of one size per forward pass; its statistics are those that the layers above see normalised."""


@torch.no_grad()
def with_statistics_of(
    network: SegmentationNetwork, images: Sequence[Tensor], share: float
) -> SegmentationNetwork:
    """A copy whose running means and variances are `1 - share` of the network's and `share` of the images'.

    `images`: uint8 RGB (3, H, W), of any sizes; those of one size should stand together. The images' statistics are
    the mean over chunks of 8 at most, each layer seeing what the layers below make of the chunk's own statistics.
    Without images, or for a network without BatchNorm, the copy is equal. The network is left alone.
    """
    adapted = deepcopy(network).eval()
    layers = batch_norm_layers(adapted)
    statistics = [
        cast(Tensor, value) for layer in layers for value in (layer.running_mean, layer.running_var)
    ]
    before = [value.clone() for value in statistics]
    momenta = [layer.momentum for layer in layers]
    device = network.device
    chunks = _chunks(images)
    for number, chunk in enumerate(chunks):
        for layer in layers:
            layer.train()
            layer.momentum = 1.0 / (number + 1)  # the mean of all chunks so far
        adapted(normalise(torch.stack(chunk).to(device), network.profile))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    if chunks:
        torch._foreach_lerp_(statistics, before, 1.0 - share)
    return adapted.eval()


def _chunks(images: Sequence[Tensor]) -> list[list[Tensor]]:
    """Cut into runs of one size, 8 images at most."""
    runs = [list(run) for _, run in groupby(images, key=lambda image: image.shape)]
    return [run[start : start + CHUNK] for run in runs for start in range(0, len(run), CHUNK)]
