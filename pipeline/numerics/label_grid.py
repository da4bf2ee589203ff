"""Labels at the positions of a network's feature grid."""

import torch
from torch import Tensor


def labels_on_grid(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pick the labels (B, H, W) at a grid of `size` (h, w): nearest with floor indexing, (B, h, w).

    Cell (i, j) takes pixel (floor(i H / h), floor(j W / w)), in integers. Source: PLCA and DAFormer, released
    code (nearest interpolation of labels).
    """
    height, width = labels.shape[-2:]
    rows = torch.arange(size[0], device=labels.device) * height // size[0]
    columns = torch.arange(size[1], device=labels.device) * width // size[1]
    return labels[:, rows[:, None], columns[None, :]]
