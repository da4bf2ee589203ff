"""Logits of a trained network, moved towards classes that it rarely answers (Menon et al., ICLR 2021)."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor

from pipeline.networks.base import SegmentationNetwork

SMALLEST_SHARE = 1e-4
"""Classes that are answered less than this are moved no further: their share is mostly chance."""


@torch.no_grad()
def with_adjusted_logits(
    network: SegmentationNetwork, images: Sequence[Tensor], strength: float
) -> SegmentationNetwork:
    """A copy whose logits are lower by `strength` x log(the class's mean probability on the images).

    Menon's post-hoc form, with the network's own mean answer on unlabelled images in place of class frequencies.
    `images`: uint8 RGB (3, H, W), of any sizes. It moves the main head's bias, so that whatever reads the network
    sees it. Without images, or for a head without bias, the copy is equal. The network is left alone.
    """
    adapted = deepcopy(network).eval()
    bias = adapted.class_bias()
    if bias is not None and len(images):
        shares = torch.stack([_mean_answer(adapted, image) for image in images]).mean(0)
        bias.sub_(shares.clamp_min(SMALLEST_SHARE).log(), alpha=strength)
    return adapted


def _mean_answer(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """The mean probability of each class over an image: float32 (K,)."""
    return network.logits(image[None].to(network.device)).softmax(dim=1).mean((0, 2, 3))
