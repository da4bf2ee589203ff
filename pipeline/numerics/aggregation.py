"""Spatial aggregation of a feature map or prediction over itself: every position mixes with those like it.

`mixed_j = (1 - a) t_j + a sum_j' w_jj' t_j'`, w the row softmax of the affinity of the image with itself:
contrast-normalised cosine for features, or -KL(q_j || q_j') without contrast for predictions, where the mix
of distributions stays a distribution. Source: Kang et al., Pixel-Level Cycle Association, NeurIPS 2020,
and its released code.

The N x N weights are never held: scores are streamed with a running maximum, sum and weighted sum of values,
and made again in the backward pass. Memory is O(N C + C^2), see `streaming.py`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.artifacts.errors import ConfigError
from pipeline.numerics.streaming import (
    Cosine,
    Divergence,
    RowLogits,
    exact_products,
    probabilities,
    row_logits,
    widen,
)


def aggregate_cosine(rows: Tensor, share: float = 1.0, block_rows: int = 512) -> Tensor:
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
        return _Mix.apply(widen(rows), Cosine, True, share, block_rows)


def aggregate_kl(rows: Tensor, share: float = 1.0, block_rows: int = 512) -> Tensor:
    """Mix each position's prediction with their mean by softmax of -KL: (N, K) -> (N, K).

    `rows`: probabilities of one image flattened row-major, any float dtype; each row of the result is a
    distribution again. `share` in (0, 1] is a above (PLCA: 0.5). Result: float32 (float64 for float64), exact
    in value and gradient.
    """
    with exact_products(rows.device):
        return _Mix.apply(widen(rows), Divergence, False, share, block_rows)


class _Mix(torch.autograd.Function):
    """(1 - share) V + share softmax(z) V, with z the row logits of V against itself."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        operand: type[Cosine] | type[Divergence],
        contrast: bool,
        share: float,
        block_rows: int,
    ) -> Tensor:
        if not 0 < share <= 1:
            raise ValueError(f"share must lie in (0, 1], found {share}")
        own, rows = operand(values), torch.arange(len(values), device=values.device)
        logits = row_logits(own, own, rows, contrast, block_rows)
        mixed, normaliser = _weighted_values(logits, share)
        ctx.save_for_backward(values, mixed, logits.centre, logits.scale, normaliser)
        ctx.operand, ctx.share, ctx.block_rows = operand, share, block_rows
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        values, mixed, centre, scale, normaliser = ctx.saved_tensors
        rows = torch.arange(len(values), device=values.device)
        with exact_products(values.device):
            own = ctx.operand(values)
            logits = RowLogits(own, own, rows, centre, scale, ctx.block_rows)
            return _mix_gradient(logits, mixed, normaliser, ctx.share, grad), None, None, None, None


def _weighted_values(logits: RowLogits, share: float) -> tuple[Tensor, Tensor]:
    """The mix (N, C) and the log-sum-exp of each row (N,), in one pass over the keys."""
    values = logits.keys.values
    mixed, normaliser = torch.empty_like(values), torch.empty_like(logits.scale)
    for rows in logits.row_slices():
        query = logits.query_block(rows)
        peak = query.new_full((len(query), 1), -torch.inf)
        weight_sum = torch.zeros_like(peak)
        value_sum = torch.zeros_like(query)
        for keys in logits.key_slices():
            z = query @ logits.key_block(keys).T
            raised = torch.maximum(peak, z.amax(dim=1, keepdim=True))
            fade = (peak - raised).exp()
            weight = z.sub_(raised).exp_()
            weight_sum = weight_sum * fade + weight.sum(dim=1, keepdim=True)
            value_sum.mul_(fade).addmm_(weight, values[keys])
            peak = raised
        mixed[rows] = torch.lerp(values[rows], value_sum.div_(weight_sum), share)
        normaliser[rows] = (peak + weight_sum.log()).squeeze(1)
    return mixed, normaliser


def _mix_gradient(logits: RowLogits, mixed: Tensor, normaliser: Tensor, share: float, grad: Tensor) -> Tensor:
    """Gradient of the rows as values, keys and queries: dz = P (dP - <g, O>), dP = g V^T, g = share grad."""
    values = logits.keys.values
    gradient = grad * (1.0 - share)
    for rows in logits.row_slices():
        query, incoming = logits.query_block(rows), grad[rows] * share
        shift = _along_mean(incoming, values[rows], mixed[rows], share)
        grad_query = torch.zeros_like(query)
        for keys in logits.key_slices():
            key = logits.key_block(keys)
            weight = probabilities(query, key, normaliser[rows])
            gradient[keys].addmm_(weight.T, incoming)
            grad_z = (incoming @ values[keys].T).sub_(shift).mul_(weight)
            grad_query.addmm_(grad_z, key)
            # `query` already holds the scale.
            gradient[keys] += logits.keys.pull_key(keys, grad_z.T @ query)
        grad_query *= logits.scale[rows, None]
        gradient[rows] += logits.queries.pull_query(rows, grad_query)
    return gradient


def _along_mean(grad: Tensor, values: Tensor, mixed: Tensor, share: float) -> Tensor:
    """<g, O> of each row (r, 1), with O, the mean that was mixed in, taken out of the mix again."""
    mean = torch.lerp(values, mixed, 1.0 / share)
    return torch.linalg.vecdot(grad, mean, dim=1)[:, None]
