"""The best class of each pixel, the lowest of those that tie, on every device.

Source of the rule: `docs/protocol.md`, evaluation.
"""

import torch
from torch import Tensor


def winner(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best score of each pixel and its class: (..., K, H, W) -> (..., H, W) and uint8 (..., H, W).

    K is at most 255. A NaN among a pixel's scores makes its best score NaN and its class K - 1.
    """
    last = scores.shape[-3] - 1
    best = scores.amax(dim=-3, keepdim=True)
    # A class that reaches the best counts the more the lower it is; an index of a maximum would be chosen by
    # the device, and takes longer.
    rank = torch.arange(last, -1, -1, dtype=torch.uint8, device=scores.device)[:, None, None]
    reached = (scores == best).view(torch.uint8).mul_(rank).amax(dim=-3)
    return best.squeeze(-3), last - reached
