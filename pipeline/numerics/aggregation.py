"""Spatial aggregation of a feature map or prediction over itself: every position mixes with those like it.

`mixed_j = (1 - a) t_j + a sum_j' w_jj' t_j'`, w the row softmax of the affinity of the image with itself:
contrast-normalised cosine for features, or -KL(q_j || q_j') without contrast for predictions, where the mix
of distributions stays a distribution. Source: Kang et al., Pixel-Level Cycle Association, NeurIPS 2020,
and its released code.

The N x N weights are never held: blocks of their rows are made, used and dropped, and made again in the backward
pass. Memory is O(N C + C^2), see `streaming.py`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.artifacts.errors import ConfigError
from pipeline.numerics.precision import exact_products
from pipeline.numerics.streaming import (
    Cosine,
    Divergence,
    Keys,
    Operand,
    contrast_scale,
    feature_blocks,
    key_mean,
    row_blocks,
    widen,
)


def aggregate_cosine(rows: Tensor, share: float = 1.0) -> Tensor:
    """Mix each position's features with their mean by contrast-normalised cosine: (N, C) -> (N, C).

    `rows`: features of one image flattened row-major, any float dtype; they are also the values, not
    normalised. `share` in (0, 1] is a above (PLCA: 0.5). Result: float32 (float64 for float64), exact in
    value and gradient; row means and deviations carry no gradient. Raises ConfigError for a single position
    (no deviation there).
    """
    if len(rows) < 2:
        raise ConfigError(
            f"aggregation needs at least 2 positions on the feature grid, found {len(rows)}; "
            "use larger images or a network with a smaller output_stride"
        )
    with exact_products(rows.device):
        return _Mix.apply(widen(rows), Cosine, True, share)


def aggregate_kl(rows: Tensor, share: float = 1.0) -> Tensor:
    """Mix each position's prediction with their mean by softmax of -KL: (N, K) -> (N, K).

    `rows`: probabilities of one image flattened row-major, any float dtype; each row of the result is a
    distribution again. `share` in (0, 1] is a above (PLCA: 0.5). Result: float32 (float64 for float64), exact
    in value and gradient.
    """
    with exact_products(rows.device):
        return _Mix.apply(widen(rows), Divergence, False, share)


class _Mix(torch.autograd.Function):
    """(1 - share) V + share softmax(z) V, with z the row logits of V against itself."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, operand: type[Cosine] | type[Divergence], contrast: bool, share: float
    ) -> Tensor:
        if not 0 < share <= 1:
            raise ValueError(f"share must lie in (0, 1], found {share}")
        own = operand(values)
        keys = Keys(own, key_mean(own))
        scale = contrast_scale(own, keys) if contrast else values.new_ones(len(values))
        mixed, normaliser = _mixed(own, keys, scale[:, None], share)
        ctx.save_for_backward(values, mixed, keys.centre, scale, normaliser)
        ctx.operand, ctx.share = operand, share
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        values, mixed, centre, scale, normaliser = ctx.saved_tensors
        with exact_products(values.device):
            own = ctx.operand(values)
            keys = Keys(own, centre)
            gradient = _gradient(own, keys, scale[:, None], mixed, normaliser, ctx.share, grad)
        return gradient, None, None, None


def _mixed(own: Operand, keys: Keys, scale: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The mix (N, C), and the log-sum-exp of each row (N, 1)."""
    values = own.values
    mixed, normaliser = torch.empty_like(values), torch.empty_like(scale)
    for rows in row_blocks(len(values), len(values), values.device):
        z = keys.products(own.query(rows) * scale[rows])
        peak = z.amax(dim=1, keepdim=True)
        weight = z.sub_(peak).exp_()
        total = weight.sum(dim=1, keepdim=True)
        mixed[rows] = torch.lerp(values[rows], (weight @ values).div_(total), share)
        normaliser[rows] = peak + total.log()
    return mixed, normaliser


def _gradient(
    own: Operand, keys: Keys, scale: Tensor, mixed: Tensor, normaliser: Tensor, share: float, grad: Tensor
) -> Tensor:
    """Gradient of the rows as values, keys and queries: dz = P (dP - <g, O>), dP = g V^T, g = share grad."""
    values = own.values
    gradient = grad * (1.0 - share)
    for rows in row_blocks(len(values), len(values), values.device):
        query, incoming = own.query(rows) * scale[rows], grad[rows] * share
        weight = keys.products(query).sub_(normaliser[rows]).exp_()
        gradient.addmm_(weight.T, incoming)
        shift = _along_mean(incoming, values[rows], mixed[rows], share)
        grad_z = weight.mul_((incoming @ values.T).sub_(shift))
        gradient[rows] += own.pull_query(rows, keys.weighted(grad_z).mul_(scale[rows]))
        for some in feature_blocks(values):
            # `query` already holds the scale.
            gradient[some] += own.pull_key(some, grad_z[:, some].T @ query)
    return gradient


def _along_mean(grad: Tensor, values: Tensor, mixed: Tensor, share: float) -> Tensor:
    """<g, O> of each row (r, 1), with O, the mean that was mixed in, taken out of the mix again."""
    mean = torch.lerp(values, mixed, 1.0 / share)
    return torch.linalg.vecdot(grad, mean, dim=1)[:, None]
