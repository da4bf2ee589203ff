"""Cross-entropy as sum and count, and the loss of a domain discriminator.

Sums and counts stay apart so that a mean can be taken over all micro-batches and processes of a step.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.numerics.compiling import compilable

Gan = Literal["vanilla", "ls"]

SOURCE_DOMAIN = 0
"""What a discriminator should answer for the source; the target is 1.

So do the released codes of AdaptSegNet and ADVENT; both papers print the opposite, which is symmetric.
"""
TARGET_DOMAIN = 1


@compilable
def cross_entropy_sum(logits: Tensor, labels: Tensor, ignore: int = 255) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy over the labelled pixels; their mean is the first result over the second.

    `logits`: (B, K, h, w), any floating dtype. `labels`: (B, h, w), any integer dtype, values in [0, K) or
    `ignore`. Result: two scalars on the logits' device, float32 (float64 for float64 logits): the sum over
    pixels in nats, and the count of labelled pixels (exact up to 2**24 in float32; without gradient).
    Without any labelled pixel the sum is 0 and its gradient is 0 everywhere, never NaN. A label that is
    neither a class nor `ignore` is an IndexError on the CPU and a device assertion on a GPU.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # The unreduced form: PyTorch's fused sum over a map adds atomically on a GPU, in no fixed order.
    per_pixel = functional.cross_entropy(wide, labels.long(), ignore_index=ignore, reduction="none")
    return per_pixel.sum(), (labels != ignore).sum().to(wide.dtype)


@compilable
def domain_loss(logits: Tensor, domain: int, gan: Gan = "vanilla") -> Tensor:
    """Return the mean loss of a discriminator's answers against one domain constant.

    `logits`: raw answers of any shape, usually (B, 1, h, w). `domain`: 0 for source, 1 for target: what the
    discriminator *should* say; the adversarial term of the network passes the other one. `gan`: "vanilla" is
    binary cross-entropy on the logits, "ls" the squared distance to the constant (LSGAN, Mao et al. 2017,
    equation 2, without its factor 1/2, as in AdaptSegNet). Result: float32 scalar on the logits' device,
    at least 0; a differentiable 0 for an empty map. Raises ValueError for another domain or gan.
    Source: ADVENT, equations 5 and 6.
    """
    return _domain_loss(logits, domain, gan, "mean" if logits.numel() else "sum")


@compilable
def domain_losses(logits: Tensor, domain: int, gan: Gan = "vanilla") -> Tensor:
    """Return what `domain_loss` averages: the loss of each answer, float32, of the answers' shape."""
    return _domain_loss(logits, domain, gan, "none")


def _domain_loss(logits: Tensor, domain: int, gan: Gan, reduction: Literal["mean", "sum", "none"]) -> Tensor:
    if domain not in (SOURCE_DOMAIN, TARGET_DOMAIN):
        raise ValueError(f"domain must be 0 (source) or 1 (target), found {domain!r}")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    constant = torch.full_like(wide, float(domain))
    if gan == "vanilla":
        return functional.binary_cross_entropy_with_logits(wide, constant, reduction=reduction)
    if gan == "ls":
        return functional.mse_loss(wide, constant, reduction=reduction)
    raise ValueError(f"gan must be 'vanilla' or 'ls', found {gan!r}")
