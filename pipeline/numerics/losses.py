"""The loss of a domain discriminator."""

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
