"""Spatial class priors: where in the picture each class lies in the source, smoothed.

Source: Zou et al., CBST, ECCV 2018, section 4 (CBST-SP); sigma, border and normalisation are ours, see
docs/methods/cbst.md. Use: scores = prior * probability, elementwise, in float32, not renormalised.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from pipeline.numerics.upsampling import upsample

SIGMA, TRUNCATE = 17.5, 35
"""In pixels of the target's size: a Gaussian of 70 x 70 (Zou 2018)."""
NORM = "per_class_mean1"
"""What a prior's record says of its scale."""
STORED_STRIDE = 4


def count_label(counts: NDArray[np.int32], label: NDArray[np.uint8]) -> None:
    """Add one source label map to the counts, in place.

    `counts`: int32 (K, H, W), images in which the pixel has the class; counts of several parts may be added.
    `label`: uint8 (H, W) of the same size (resized nearest to the target's grid before), 255 and other ids
    outside [0, K) are left out. Raises ValueError for another size.
    """
    if label.shape != counts.shape[1:]:
        raise ValueError(f"label of shape {label.shape} does not fit prior counts of {counts.shape[1:]}")
    rows, columns = np.nonzero(label < counts.shape[0])
    counts[label[rows, columns], rows, columns] += 1  # a pixel has one class: no index occurs twice


def spatial_prior(
    counts: NDArray[np.int32], images: int, sigma: float = SIGMA, truncate: int = TRUNCATE
) -> NDArray[np.float32]:
    """Smooth class counts to the prior q, float32 (K, H, W), at least 0; each class's mean over the picture is 1.

    `counts`: from `count_label`. `images`: their number, at least 1. `sigma`: of the Gaussian, in pixels;
    `truncate`: half width of its kernel in pixels; the border is reflected. A scale per class is not neutral,
    it changes which pixels are predicted as what, so the norm belongs to the method's identity. A class that
    never occurs in the source gets 0 everywhere and so is never predicted; a pixel without any class likewise.
    Raises ValueError for no image.
    """
    if images < 1:
        raise ValueError("a spatial prior needs at least one labelled source image")
    shares = counts.astype(np.float64) / images
    prior = np.stack([ndimage.gaussian_filter(p, sigma, mode="reflect", radius=truncate) for p in shares])
    np.maximum(prior, 0.0, out=prior)
    whole = np.broadcast_to(prior.mean(axis=(1, 2), keepdims=True), prior.shape)
    return np.divide(prior, whole, out=np.zeros_like(prior), where=whole > 0).astype(np.float32)


def shrink_prior(prior: NDArray[np.float32]) -> Tensor:
    """Average a prior to a quarter of its size for storage: (K, H, W) -> float16 (K, ceil(H/4), ceil(W/4)).

    Values beyond float16 (65504) do not occur for norms of order 1; they would be a ValueError.
    """
    height, width = (math.ceil(side / STORED_STRIDE) for side in prior.shape[1:])
    small = functional.interpolate(torch.from_numpy(prior)[None], size=(height, width), mode="area")[0].half()
    if not bool(torch.isfinite(small).all()):
        raise ValueError(f"prior values up to {prior.max():.3g} do not fit float16")
    return small


def enlarge_prior(stored: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a stored prior to (height, width), bilinear: (K, h, w) -> float32 (K, H, W), at least 0.

    Half-pixel centres (align_corners=False), the inverse of averaging blocks.
    """
    return upsample(stored.float()[None], size, align_corners=False)[0].clamp(min=0.0)
