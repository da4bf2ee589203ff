"""How much a pseudo-label counts, and the cross-entropy under such weights."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Quality = Literal["batch", "image", "pixel", "soft"]

CONFIDENT = 0.968
"""Least probability of a confident pixel. Source: DACS; kept by DAFormer and MIC."""


def quality_weight(confidence: Tensor, quality: Quality) -> Tensor:
    """Weight of each pseudo-label, float32 of the shape of `confidence` (B, H, W): the greatest probability.

    `batch`, `image`: the share of confident pixels in all of them, or in each image (DACS, DAFormer); `pixel`: 1
    where confident, else 0; `soft`: the probability squared (ours). All are between 0 and 1.
    """
    if quality == "soft":
        return confidence.float() ** 2
    confident = (confidence >= CONFIDENT).float()
    if quality == "pixel":
        return confident
    share = confident.mean() if quality == "batch" else confident.mean(dim=(1, 2), keepdim=True)
    return share.expand_as(confident)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor, ignore: int = 255) -> Tensor:
    """Mean of weight times cross-entropy over all pixels, a float32 scalar; ignored ones count as 0 in it.

    `logits`: (B, K, H, W). `labels`: int64 (B, H, W). `weight`: (B, H, W). The denominator is the number of all
    pixels, as in DACS and DAFormer: fewer confident pixels make a smaller loss.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    per_pixel = functional.cross_entropy(wide, labels, ignore_index=ignore, reduction="none")
    return (per_pixel * weight).mean()
