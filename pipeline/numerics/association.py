"""Pixel-level cycle association of a source and a target image, exact and without any N x N matrix.

A labelled source pixel i goes to its most similar target pixel j*(i), and from there back to the most similar
source pixel i*(j*(i)); where that one has the label of i, both steps are made more likely:
`L = -(1/|I|) sum_{i in I} log[P(j*(i) | i) Q(i*(j*(i)) | j*(i))]`. P and Q are softmaxes over rows of the
affinity, normalised by the row's mean and deviation. Source: Kang et al., Pixel-Level Cycle Association,
NeurIPS 2020, and its released code; the derivation of this form is in `docs/methods/plca.md`.

Memory is O(N C + C^2): blocks of the affinity are made, reduced and dropped, and made again in the backward
pass, see `streaming.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.artifacts.errors import ConfigError
from pipeline.numerics.streaming import (
    Cosine,
    Divergence,
    Peaks,
    RowLogits,
    exact_products,
    probabilities,
    row_logits,
    softmax_peaks,
    widen,
)

Metric = Literal["cos", "kl"]

OPERANDS: dict[str, type[Cosine] | type[Divergence]] = {"cos": Cosine, "kl": Divergence}


@dataclass(frozen=True)
class AssociationLoss:
    """`sum`: scalar, the costs of all closed cycles; `count`: |I|, same dtype, no gradient.

    Images are pooled by adding both: see `pooled_mean`.
    """

    sum: Tensor
    count: Tensor


@dataclass(frozen=True)
class Cycles:
    """The walks of the R labelled source pixels, row-major, over the T target pixels that they reach.

    `rows` (R,): the labelled source pixels. `to_target` (R,): j*(i). `reached` (T,): the distinct targets,
    ascending. `slot` (R,): position of j*(i) in `reached`. `to_source` (T,): i*(j). `closed` (R,) bool: the
    walk ends in the starting class. `cost_there` (R,) = -log P(j*(i) | i) and `cost_back` (T,) =
    -log Q(i*(j) | j), both differentiable.
    """

    rows: Tensor
    to_target: Tensor
    reached: Tensor
    slot: Tensor
    to_source: Tensor
    closed: Tensor
    cost_there: Tensor
    cost_back: Tensor


def cycle_association(
    source: Tensor,
    target: Tensor,
    source_labels: Tensor,
    metric: Metric,
    block_rows: int = 512,
    ignore: int = 255,
) -> AssociationLoss:
    """Sum the association cost of one image pair over its closed cycles.

    `source` (N, C) and `target` (M, C): features (`cos`) or probabilities (`kl`) flattened row-major, any
    float dtype, one device; half precision is computed in float32. `source_labels` (N,): integers on the same
    grid. `block_rows`: queries and keys handled at once; more is faster and needs block_rows^2 numbers. The
    gradient reaches both inputs through both softmaxes, not through indices, means and deviations.
    Without a closed cycle `sum` is a differentiable 0 and `count` 0. The cost per cycle is at most
    log(N M). Raises ConfigError where a grid has fewer than 2 positions (no deviation there).
    """
    cycles = follow_cycles(source, target, source_labels, metric, block_rows, ignore)
    closed = cycles.closed.to(cycles.cost_there.dtype)
    # Counting the closed cycles through each target replaces a gather, whose gradient would add atomically.
    visits = torch.bincount(cycles.slot[cycles.closed], minlength=len(cycles.reached)).to(closed.dtype)
    total = (cycles.cost_there * closed).sum() + (cycles.cost_back * visits).sum()
    return AssociationLoss(total, closed.sum())


def pooled_mean(losses: Sequence[AssociationLoss]) -> Tensor:
    """Mean cost per closed cycle over all given pairs, a scalar; a differentiable 0 where no cycle closed."""
    total = torch.stack([loss.sum for loss in losses]).sum()
    count = torch.stack([loss.count for loss in losses]).sum()
    return total / count.clamp(min=1.0)


def follow_cycles(
    source: Tensor,
    target: Tensor,
    source_labels: Tensor,
    metric: Metric,
    block_rows: int = 512,
    ignore: int = 255,
) -> Cycles:
    """Walk from every labelled source pixel to the target and back; arguments as in `cycle_association`.

    Ties go to the lowest index.
    """
    _check_arguments(source, target, source_labels, metric)
    rows = (source_labels != ignore).nonzero().squeeze(1)
    with exact_products(source.device):
        cost_there, cost_back, to_target, reached, slot, to_source = _Walk.apply(
            widen(source), widen(target), rows, metric, block_rows
        )
    closed = source_labels[to_source[slot]] == source_labels[rows]
    return Cycles(rows, to_target, reached, slot, to_source, closed, cost_there, cost_back)


def _check_arguments(source: Tensor, target: Tensor, labels: Tensor, metric: str) -> None:
    if metric not in OPERANDS:
        raise ValueError(f"metric must be 'cos' or 'kl', found {metric!r}")
    if source.dim() != 2 or target.dim() != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(
            f"source and target must be (N, C) and (M, C), found {tuple(source.shape)}, {tuple(target.shape)}"
        )
    if labels.shape != source.shape[:1]:
        raise ValueError(
            f"source_labels must be ({len(source)},), one per source row, found {tuple(labels.shape)}"
        )
    for domain, features in (("source", source), ("target", target)):
        if len(features) < 2:
            raise ConfigError(
                f"cycle association needs at least 2 positions on the {domain} grid, found {len(features)}; "
                "use larger images or a network with a smaller output_stride"
            )


class _Walk(torch.autograd.Function):
    """Peaks of chosen rows of P, and of the rows of Q that they reach; blocks are made again backward."""

    @staticmethod
    def forward(
        ctx: Any, source: Tensor, target: Tensor, rows: Tensor, metric: Metric, block_rows: int
    ) -> tuple[Tensor, ...]:
        a, b = OPERANDS[metric](source), OPERANDS[metric](target)
        logits_there = row_logits(a, b, rows, contrast=True, block_rows=block_rows)
        there = softmax_peaks(logits_there)
        reached, slot = torch.unique(there.key, return_inverse=True)
        logits_back = row_logits(b, a, reached, contrast=True, block_rows=block_rows)
        back = softmax_peaks(logits_back)
        ctx.metric, ctx.block_rows = metric, block_rows
        ctx.save_for_backward(
            source, target, rows, logits_there.centre, logits_there.scale, *there, reached,
            logits_back.centre, logits_back.scale, *back,
        )  # fmt: skip
        ctx.mark_non_differentiable(there.key, reached, slot, back.key)
        return there.cost, back.cost, there.key, reached, slot, back.key

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_there: Tensor, grad_back: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None]:
        source, target, *saved = ctx.saved_tensors
        grad_source, grad_target = torch.zeros_like(source), torch.zeros_like(target)
        with exact_products(source.device):
            a, b = OPERANDS[ctx.metric](source), OPERANDS[ctx.metric](target)
            for queries, keys, grad_queries, grad_keys, weight, (rows, centre, scale, *peaks) in (
                (a, b, grad_source, grad_target, grad_there, saved[:6]),
                (b, a, grad_target, grad_source, grad_back, saved[6:]),
            ):
                kept = weight.nonzero().squeeze(1)  # a walk that did not close costs no product
                logits = RowLogits(queries, keys, rows[kept], centre, scale[kept], ctx.block_rows)
                chosen = Peaks(*(peak[kept] for peak in peaks))
                _add_peak_gradients(logits, chosen, weight[kept], grad_queries, grad_keys)
        return grad_source, grad_target, None, None, None


def _add_peak_gradients(
    logits: RowLogits, peaks: Peaks, weight: Tensor, grad_queries: Tensor, grad_keys: Tensor
) -> None:
    """Add the gradients of sum_i weight_i cost_i: with E = P - [j = peak], dx = w s E k, dk = (w s E)^T x."""
    for rows in logits.row_slices():
        query = logits.query_block(rows)
        grad_query = torch.zeros_like(query)
        for keys in logits.key_slices():
            key = logits.key_block(keys)
            excess = probabilities(query, key, peaks.normaliser[rows])
            columns = torch.arange(keys.start, keys.stop, device=query.device)
            excess -= (peaks.key[rows, None] == columns).to(excess.dtype)
            excess *= weight[rows, None]
            grad_query.addmm_(excess, key)
            # `query` already holds the scale.
            grad_keys[keys] += logits.keys.pull_key(keys, excess.T @ query)
        grad_query *= logits.scale[rows, None]
        grad_queries[logits.rows[rows]] += logits.queries.pull_query(logits.rows[rows], grad_query)
