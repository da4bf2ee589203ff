"""The "LSR" term of PLCA: sharpens predictions until their mean negative log-probability reaches g.

Despite its name it is no label smoothing: below r = g its coefficient is negative, so minimising it raises r,
that is, makes the prediction sharper; above g it smooths. A uniform prediction has r = ln K (2.94 for 19
classes), far below the usual g = 10. Source: Kang et al., NeurIPS 2020, as in the released code.
"""

import torch
from torch import Tensor

from pipeline.numerics.streaming import widen


def lsr(logits: Tensor, g: float = 10.0) -> Tensor:
    """Mean over pixels of `stopgrad(r / g - 1) r`, r = -(1/K) sum_k log p_k; a scalar.

    `logits`: (B, K, h, w), any float dtype, computed in float32 (float64 for float64). `g`: the r at which
    the gradient changes its sign, in nats, positive.
    """
    r = -torch.log_softmax(widen(logits), dim=1).mean(dim=1)
    return ((r / g - 1.0).detach() * r).mean()
