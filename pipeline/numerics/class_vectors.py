"""Mean vector of each class in an image: a map averaged over the pixels that a label gives to the class.

Source: Wang et al., Alleviating Semantic-level Shift, CVPR Workshops 2020 (semantic-level features); rules
that the paper leaves open are in `docs/methods/ass.md`.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.numerics.label_grid import labels_on_grid
from pipeline.numerics.precision import exact_products
from pipeline.numerics.streaming import widen


class ClassVectors(NamedTuple):
    """One row per image and class, so that shapes do not depend on values and no device has to be waited for.

    `vectors`: (B, K, C) float32 (float64 for float64 maps). `present`: bool (B, K); the row of an absent
    class is all zeros and stands for nothing.
    """

    vectors: Tensor
    present: Tensor


def class_vectors(maps: Tensor, labels: Tensor, num_classes: int, ignore: int = 255) -> ClassVectors:
    """Average `maps` (B, C, h, w) over each class of each image, with `labels` (B, H, W) brought to the grid.

    Labels are integers in [0, num_classes) or `ignore`; a class without a cell on the grid is absent.
    Differentiable in `maps`.
    """
    with exact_products(maps.device):
        wide = widen(maps).flatten(2)
        on_grid = labels_on_grid(labels, (maps.shape[2], maps.shape[3])).flatten(1).long()
        known = on_grid != ignore
        one_hot = functional.one_hot(on_grid.masked_fill(~known, num_classes), num_classes + 1)
        masks = one_hot[:, :, :num_classes].to(wide.dtype)
        counts = masks.sum(dim=1)
        means = torch.einsum("bck,bdc->bkd", masks, wide) / counts.clamp(min=1.0)[:, :, None]
    present = counts > 0
    return ClassVectors(torch.where(present[:, :, None], means, 0.0), present)
