"""Cross-entropy of logits that are up-sampled on the way, without any tensor of the labels' size times K.

The loss needs each up-sampled logit once, and its gradient goes back to the small grid. So rows are made strip
by strip (`upsampling.py`), and while a strip lies in the cache its loss and its gradient `softmax - one-hot` are
taken and brought back to the grid. Only the grid's gradient is kept for the backward pass, which scales it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.numerics.streaming import widen
from pipeline.numerics.upsampling import Enlarged


def upsampled_cross_entropy_sum(
    logits: Tensor, labels: Tensor, align_corners: bool, ignore: int = 255
) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy of `upsample(logits, labels' size)` over the labelled pixels, and count these.

    `logits`: (B, K, h, w), any float dtype. `labels`: (B, H, W), any integer dtype, values in [0, K) or
    `ignore`. Result: two scalars on the logits' device, float32 (float64 for float64 logits): the sum over
    pixels in nats, and the count of labelled pixels (exact up to 2**24 in float32; without gradient). Both
    stay apart so that a mean can be taken over all micro-batches and processes of a step.
    Without any labelled pixel the sum is 0 and its gradient is 0 everywhere, never NaN. A label that is
    neither a class nor `ignore` is an error on the CPU and a device assertion on a GPU.
    """
    wide = widen(logits)
    total = _UpsampledCrossEntropy.apply(wide, labels, align_corners, ignore)
    return total, (labels != ignore).sum().to(wide.dtype)


class _UpsampledCrossEntropy(torch.autograd.Function):
    """The sum; its gradient is linear in the incoming one, so it is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, align_corners: bool, ignore: int) -> Tensor:
        enlarged = Enlarged(logits, (labels.shape[-2], labels.shape[-1]), align_corners)
        losses = [logits.new_zeros((), dtype=torch.float64)]
        ctx.save_for_backward(enlarged.pull(_strips(enlarged, labels, ignore, losses)))
        return torch.stack(losses).sum().to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None


def _strips(
    enlarged: Enlarged, labels: Tensor, ignore: int, losses: list[Tensor]
) -> Iterator[tuple[slice, Tensor]]:
    """Yield each strip's rows and gradient (B, K, r, W); append its loss, a float64 scalar, to `losses`."""
    labelled = (labels != ignore)[:, None]
    index = labels[:, None].long().masked_fill(~labelled, 0)
    for rows in enlarged.strips():
        logits, chosen = enlarged.rows(rows), index[:, :, rows]
        weight = labelled[:, :, rows].to(logits.dtype)
        logits -= logits.amax(dim=1, keepdim=True)
        of_label = logits.gather(1, chosen)
        exponential = logits.exp_()
        total = exponential.sum(dim=1, keepdim=True)
        losses.append((total.log() - of_label).mul_(weight).sum(dtype=torch.float64))
        # One label a pixel: no two additions meet, so their order cannot matter.
        yield rows, exponential.mul_(weight / total).scatter_add_(1, chosen, -weight)
