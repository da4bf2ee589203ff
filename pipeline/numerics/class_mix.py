"""ClassMix: paste the pixels of some of one image's classes onto another image.

Source: Olsson et al., ClassMix, WACV 2021, and Tranheden et al., DACS, WACV 2021.
"""

import torch
from torch import Tensor


def class_mask(labels: Tensor, orders: Tensor, share: float, ignore: int = 255) -> Tensor:
    """Choose `share` of each image's classes, rounded up, and mark their pixels: bool (B, H, W).

    `labels`: int64 (B, H, W), class ids and `ignore`, which is never chosen. `orders`: int64 (B, K), each image's
    classes in the order in which they are taken; the first ones that are present are chosen. Released code chooses
    among the classes of the whole batch instead, so that the result depends on which images meet.
    Nothing here waits for the device.
    """
    count = orders.shape[1]
    present = torch.stack([(labels == index).flatten(1).any(dim=1) for index in range(count)], dim=1)
    in_order = present.gather(1, orders)
    wanted = torch.ceil(in_order.sum(dim=1, keepdim=True).double() * share)
    taken = in_order & (in_order.cumsum(dim=1) <= wanted)
    chosen = torch.zeros_like(present).scatter(1, orders, taken)
    valid = labels != ignore
    found = chosen.gather(1, labels.clamp(max=count - 1).flatten(1)).reshape(labels.shape)
    return found & valid


def mixed(mask: Tensor, pasted: Tensor, below: Tensor) -> Tensor:
    """Take `pasted` where `mask` (B, H, W) is true and `below` elsewhere; maps (B, H, W) or (B, C, H, W)."""
    return torch.where(mask if pasted.ndim == mask.ndim else mask[:, None], pasted, below)
