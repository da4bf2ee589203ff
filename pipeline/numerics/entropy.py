"""Entropy of a network's prediction, as map and per class, in float32 whatever the autocast.

Source: Vu et al., ADVENT, CVPR 2019, sections 3.1 (normalised entropy) and 3.2 (weighted self-information).
With p the softmax over the K classes, `I_k = -p_k ln(p_k) / ln(K)` and `E = sum_k I_k`, in [0, 1].

Both come from log-softmax: the common `p * log2(p + 1e-30)` turns to 0 * -inf = NaN in half precision,
where 1e-30 underflows, while `exp(l) * l` is exactly 0 for every class of vanishing probability.
"""

import math

import torch
from torch import Tensor

from pipeline.numerics.compiling import compilable


@compilable
def self_information(logits: Tensor) -> Tensor:
    """Return the weighted self-information of each class, the map that an entropy discriminator sees.

    `logits`: (B, K, h, w), any floating dtype, finite. Result: (B, K, h, w), float32 (float64 for float64
    logits), each value in [0, 1/(e ln K)]; the sum over the class axis is the normalised entropy in [0, 1]:
    1/K per class for a uniform prediction, 0 for a certain one. Raises ValueError for K = 1, where the
    entropy has no scale. Source: ADVENT, section 3.2, divided by ln K.
    """
    num_classes = logits.shape[1]
    if num_classes < 2:
        raise ValueError(f"entropy needs at least 2 classes on axis 1, found shape {tuple(logits.shape)}")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_probability = torch.log_softmax(wide, dim=1)
    return log_probability.exp() * log_probability * (-1.0 / math.log(num_classes))


def entropy_map(logits: Tensor) -> Tensor:
    """Return the normalised entropy of each pixel: (B, K, h, w) logits -> (B, h, w) float32 in [0, 1].

    The entropy loss of MinEnt is the mean of this map (the loss weight 0.001 belongs to the mean, not to a
    sum over pixels). Raises ValueError for K = 1. Source: ADVENT, equation 2.
    """
    return self_information(logits).sum(dim=1)
