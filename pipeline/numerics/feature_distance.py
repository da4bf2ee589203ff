"""How far features lie from those of a network that stays as it was: on things alone, or everywhere."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

THING_SHARE = 0.75
"""Least share of a cell's pixels that one thing must have. Source: DAFormer, released code."""
COSINE_SHARE = 0.9
"""Share of the angle in the distance everywhere; smooth L1 has the rest. Source: VFM-UDA++, released code."""


def thing_mask(labels: Tensor, things: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Mark the cells of a grid of `size` (height, width) that show one thing: bool (B, h, w).

    `labels`: int64 (B, H, W). A cell shows a class that has three quarters of its pixels, ignored ones counted.
    Source: Hoyer et al., DAFormer, CVPR 2022, section 3.3.
    """
    shares = [F.adaptive_avg_pool2d((labels == thing).float(), size) >= THING_SHARE for thing in things]
    return torch.stack(shares).any(dim=0)


def masked_distance(features: Tensor, frozen: Tensor, mask: Tensor) -> Tensor:
    """Mean Euclidean distance of the channels over the cells of `mask`; a differentiable 0 without any.

    `features`, `frozen`: (B, C, h, w); `mask`: bool (B, h, w). Result: float32 scalar. Source: DAFormer, equation 12.
    """
    distance = torch.linalg.vector_norm(features.float() - frozen.float(), dim=1)
    return (distance * mask).sum() / mask.sum().clamp(min=1)


def cosine_distance(features: Tensor, frozen: Tensor) -> Tensor:
    """Mean over all cells of 0.1 smooth L1 (mean over channels) + 0.9 (1 - cosine), a float32 scalar.

    `features`, `frozen`: (B, C, h, w). Source: Englert et al., VFM-UDA++, 2025, released code.
    """
    features, frozen = features.float(), frozen.float()
    angle = 1.0 - F.cosine_similarity(features, frozen, dim=1).mean()
    return (1.0 - COSINE_SHARE) * F.smooth_l1_loss(features, frozen) + COSINE_SHARE * angle
