"""Lovasz-softmax: a convex surrogate of the mean Jaccard loss over the classes present.

Source: Berman et al., The Lovasz-Softmax loss, CVPR 2018 (multi-class form); in PLCA it is taken over a pool
of images, not per image, and its weight is explicit (`docs/methods/plca.md`).
"""

import torch
from torch import Tensor

from pipeline.numerics.streaming import widen


def lovasz_softmax(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Lovasz-softmax over all labelled pixels of the given images together; a scalar in [0, 1].

    `logits`: (B, K, h, w), any float dtype; computed in float32 (float64 for float64). `labels`: integers
    (B, h, w), values in [0, K) or `ignore`. Mean over the classes that occur in `labels`. A differentiable 0
    without any labelled pixel; one labelled pixel is as good as many. Nothing here waits for the device.
    """
    num_classes = logits.shape[1]
    probability = torch.softmax(widen(logits), dim=1)
    labels = labels.reshape(-1)
    labelled = labels != ignore
    losses, present = [], []
    for index in range(num_classes):
        member = labels == index
        losses.append(_class_loss(probability[:, index].reshape(-1), member, labelled))
        present.append(member.any())
    mask = torch.stack(present).to(probability.dtype)
    return (torch.stack(losses) * mask).sum() / mask.sum().clamp(min=1.0)


def _class_loss(probability: Tensor, member: Tensor, labelled: Tensor) -> Tensor:
    """Loss of one class over (N,) pixels: <errors, weights>, 0 for pixels without a label."""
    error = (member.to(probability.dtype) - probability).abs()
    order = error.detach().argsort(descending=True, stable=True)
    weight = torch.empty_like(error)
    # Weights go back to the pixels' own order: the gradient then needs no gather.
    weight[order] = jaccard_weights(member[order], labelled[order], error.dtype)
    return (error * weight).sum()


def jaccard_weights(member: Tensor, labelled: Tensor, dtype: torch.dtype) -> Tensor:
    """Increments J_k - J_{k-1} of the Jaccard loss along the sorted errors: (N,) bool, bool -> (N,) `dtype`.

    With I_k members left and U_k pixels in the union after step k, a member adds 1 / U_k and another pixel
    I_k / (U_k (U_k - 1)). These closed forms avoid the difference of two numbers close to 1, which in float32
    loses every digit beyond some ten million pixels. Counts are integers: their sums are the same on every
    device. A pixel without a label weighs 0 and moves no count, wherever it was sorted. Without any member
    all weights are finite and mean nothing.
    """
    other = labelled & ~member
    total = member.sum()
    left = total - member.long().cumsum(dim=0)
    union = (total + other.long().cumsum(dim=0)).to(dtype).clamp(min=1.0)
    of_others = left.to(dtype) / (union * (union - 1.0).clamp(min=1.0))
    return torch.where(member, 1.0 / union, of_others * other.to(dtype))
