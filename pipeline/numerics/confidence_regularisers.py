"""Confidence regularisers of CRST: three on the network's output, one on the labels.

Source: Zou et al., Confidence regularized self-training, ICCV 2019, section 4. All work on logits z in log
space, with p = softmax(z) over the K classes. The model regularisers (MRKLD, MRENT, MRL2) add
`alpha * r` per pseudo-labelled target pixel; LRENT turns the pseudo-labels soft. `alpha` is applied once:
0.1 is the paper's value for MRKLD, 0.01 what its released code amounts to.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

ModelRegulariser = Literal["mrkld", "mrent", "mrl2"]


def _log_probability(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)


def mrkld(logits: Tensor) -> Tensor:
    """Return `-(1/K) sum_k ln p_k = logsumexp(z) - mean(z)` per pixel, at least ln K.

    (B, K, h, w) -> (B, h, w) float32. Its gradient to z_k is p_k - 1/K. Cross-entropy + alpha * this equals
    (1 + alpha) times cross-entropy with labels smoothed by alpha (K - 1) / (K (1 + alpha)), spread over the
    other classes. Source: CRST, section 4.
    """
    return -_log_probability(logits).mean(dim=1)


def mrent(logits: Tensor) -> Tensor:
    """Return the negative entropy `sum_k p_k ln p_k` per pixel, in [-ln K, 0].

    (B, K, h, w) -> (B, h, w) float32. Its gradient to z_k is p_k (ln p_k - sum_j p_j ln p_j).
    Source: CRST, section 4.
    """
    log_probability = _log_probability(logits)
    return (log_probability.exp() * log_probability).sum(dim=1)


def mrl2(logits: Tensor) -> Tensor:
    """Return `sum_k p_k ** 2` per pixel, in [1/K, 1].

    (B, K, h, w) -> (B, h, w) float32. Its gradient to z_k is 2 p_k (p_k - sum_j p_j ** 2).
    Source: CRST, section 4.
    """
    return _log_probability(logits).exp().square().sum(dim=1)


MODEL_REGULARISERS: dict[str, Callable[[Tensor], Tensor]] = {"mrkld": mrkld, "mrent": mrent, "mrl2": mrl2}


def regulariser_sum(
    name: ModelRegulariser, logits: Tensor, labels: Tensor, ignore: int = 255
) -> tuple[Tensor, Tensor]:
    """Sum a model regulariser over the pixels that have a pseudo-label.

    `logits`: (B, K, h, w) of target images. `labels`: integer (B, h, w). Result: the sum, without alpha, and
    the count of labelled pixels, two float32 scalars on the logits' device; without any such pixel a
    differentiable 0. Raises KeyError for an unknown name.
    """
    valid = labels != ignore
    values = MODEL_REGULARISERS[name](logits)
    return torch.where(valid, values, torch.zeros_like(values)).sum(), valid.sum().to(values.dtype)


def lrent_soft_labels(log_scores: Tensor, thresholds: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return LRENT's soft labels and which pixels are kept.

    `log_scores`: (B, K, h, w), logarithms of the scores that the thresholds were taken from (log-softmax, or
    the logarithm of averaged or prior-weighted probabilities; -inf allowed). `thresholds`: (K,), above 0.
    `alpha`: above 0. With a_k = (ln score_k - ln threshold_k) / alpha the label is softmax(a), and a pixel is
    kept iff sum_k exp(a_k) > 1, strictly. Result: float32 (B, K, h, w), 0 where not kept, and bool (B, h, w).
    alpha -> 0 gives CBST's one-hot labels and its rule (with > for >=). Raises ValueError for alpha <= 0.
    Source: CRST, section 4 (label regularisation).
    """
    if not alpha > 0:
        raise ValueError(f"LRENT needs alpha above 0, found {alpha}")
    limits = thresholds.to(log_scores.device, torch.float32).log().view(1, -1, 1, 1)
    sharpened = (log_scores.float() - limits) / alpha
    total = torch.logsumexp(sharpened, dim=1, keepdim=True)
    kept = total > 0
    soft = torch.where(kept, (sharpened - total).exp(), torch.zeros_like(sharpened))
    return soft, kept.squeeze(1)


def soft_cross_entropy_sum(logits: Tensor, soft: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy of soft labels over the kept pixels, LRENT's loss on the target.

    `logits`: (B, K, h, w). `soft`: float32 of that shape, constants. `kept`: bool (B, h, w). Result: the sum
    in nats and the count of kept pixels, two float32 scalars; without any a differentiable 0.
    """
    values = -(soft * _log_probability(logits)).sum(dim=1)
    return torch.where(kept, values, torch.zeros_like(values)).sum(), kept.sum().to(values.dtype)
