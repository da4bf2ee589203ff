"""Pixel-level cycle association of a source and a target image, exact and without any N x N matrix.

A labelled source pixel i goes to its most similar target pixel j*(i), and from there back to the most similar
source pixel i*(j*(i)); where that one has the label of i, both steps are made more likely:
`L = -(1/|I|) sum_{i in I} log[P(j*(i) | i) Q(i*(j*(i)) | j*(i))]`. P and Q are softmaxes over rows of the
affinity, normalised by the row's mean and deviation. Source: Kang et al., Pixel-Level Cycle Association,
NeurIPS 2020, and its released code; the derivation of this form is in `docs/methods/plca.md`.

Memory is O(N C + C^2): blocks of the affinity are made, reduced and dropped, and made again in the backward
pass, see `streaming.py`. Nothing here waits for the device: walks that do not close have weight 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.artifacts.errors import ConfigError
from pipeline.numerics.affinity import Affinity, Contrast, CosineAffinity, DivergenceAffinity, contrast_of
from pipeline.numerics.precision import exact_products
from pipeline.numerics.streaming import Cosine, Divergence, row_blocks, widen

Metric = Literal["cos", "kl"]

OPERANDS: dict[str, type[Cosine] | type[Divergence]] = {"cos": Cosine, "kl": Divergence}
AFFINITIES: dict[str, type[Affinity]] = {"cos": CosineAffinity, "kl": DivergenceAffinity}


@dataclass(frozen=True)
class AssociationLoss:
    """`sum`: scalar, the costs of all closed cycles; `count`: |I|, same dtype, no gradient.

    Images are pooled by adding both: see `pooled_mean`.
    """

    sum: Tensor
    count: Tensor


@dataclass(frozen=True)
class Cycles:
    """The walks of all N source pixels, row-major, and the ways back of all M target pixels.

    `to_target` (N,): j*(i). `to_source` (M,): i*(j). `closed` (N,) bool: the pixel has a label and the walk
    ends in it. `cost_there` (N,) = -log P(j*(i) | i) and `cost_back` (M,) = -log Q(i*(j) | j), both
    differentiable.
    """

    to_target: Tensor
    to_source: Tensor
    closed: Tensor
    cost_there: Tensor
    cost_back: Tensor


def cycle_association(
    source: Tensor, target: Tensor, source_labels: Tensor, metric: Metric, ignore: int = 255
) -> AssociationLoss:
    """Sum the association cost of one image pair over its closed cycles.

    `source` (N, C) and `target` (M, C): features (`cos`) or probabilities (`kl`) flattened row-major, any
    float dtype, one device; half precision is computed in float32. `source_labels` (N,): integers on the same
    grid. The gradient reaches both inputs through both softmaxes, not through indices, means and deviations.
    Without a closed cycle `sum` is a differentiable 0 and `count` 0. The cost per cycle is at most
    log(N M). Raises ConfigError where a grid has fewer than 2 positions (no deviation there).
    """
    cycles = follow_cycles(source, target, source_labels, metric, ignore)
    closed = cycles.closed.to(cycles.cost_there.dtype)
    # Counting the closed cycles through each target replaces a gather, whose gradient would add atomically;
    # ones add up to the same number in any order.
    visits = torch.zeros_like(cycles.cost_back).index_add_(0, cycles.to_target, closed)
    total = (cycles.cost_there * closed).sum() + (cycles.cost_back * visits).sum()
    return AssociationLoss(total, closed.sum())


def pooled_mean(losses: Sequence[AssociationLoss]) -> Tensor:
    """Mean cost per closed cycle over all given pairs, a scalar; a differentiable 0 where no cycle closed."""
    total = torch.stack([loss.sum for loss in losses]).sum()
    count = torch.stack([loss.count for loss in losses]).sum()
    return total / count.clamp(min=1.0)


def follow_cycles(
    source: Tensor, target: Tensor, source_labels: Tensor, metric: Metric, ignore: int = 255
) -> Cycles:
    """Walk from every source pixel to the target and back; arguments as in `cycle_association`.

    Ties go to the lowest index.
    """
    _check_arguments(source, target, source_labels, metric)
    with exact_products(source.device):
        cost_there, cost_back, to_target, to_source = _Walk.apply(widen(source), widen(target), metric)
    arrived = source_labels[to_source[to_target]]
    closed = (source_labels != ignore) & (arrived == source_labels)
    return Cycles(to_target, to_source, closed, cost_there, cost_back)


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


class Peaks(NamedTuple):
    """Of each row: place of its largest logit, that logit, and the sum of exp(logit - largest)."""

    place: Tensor
    largest: Tensor
    total: Tensor

    def cost(self) -> Tensor:
        """-log of the row's softmax at the peak."""
        return self.total.log()

    def rows(self) -> "Rows":
        """What makes the softmax again."""
        return Rows(self.place, self.largest + self.total.log())


class Rows(NamedTuple):
    """Of each row: place of its largest logit, and log-sum-exp."""

    place: Tensor
    normaliser: Tensor


class _Walk(torch.autograd.Function):
    """Peaks of the rows of P and of Q; blocks are made again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor, metric: Metric) -> tuple[Tensor, ...]:
        contrast = contrast_of(OPERANDS[metric](source), OPERANDS[metric](target))
        blocks = row_blocks(len(source), len(target), source.device)
        there, back = _peaks(AFFINITIES[metric](source, target, contrast), blocks)
        ctx.metric = metric
        ctx.save_for_backward(source, target, *contrast, *there.rows(), *back.rows())
        ctx.mark_non_differentiable(there.place, back.place)
        return there.cost(), back.cost(), there.place, back.place

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_there: Tensor, grad_back: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        source, target, *saved = ctx.saved_tensors
        with exact_products(source.device):
            affinity = AFFINITIES[ctx.metric](source, target, Contrast(*saved[:4]))
            there, back = Rows(*saved[4:6]), Rows(*saved[6:])
            blocks = _peak_gradients(affinity, there, back, grad_there, grad_back)
            return *affinity.gradients(blocks), None


def _peaks(affinity: Affinity, blocks: Iterator[slice]) -> tuple[Peaks, Peaks]:
    """The rows of the way there block by block; those of the way back lie across blocks and go on."""
    there: list[Peaks] = []
    back: Peaks | None = None
    for rows in blocks:
        forward, backward = affinity.logits(rows)
        there.append(_peaks_along(forward, dim=1))
        part = _peaks_along(backward, dim=0)
        part = part._replace(place=part.place + rows.start)
        back = part if back is None else _continued(back, part)
    assert back is not None
    return Peaks(*(torch.cat(column) for column in zip(*there, strict=True))), back


def _peaks_along(logits: Tensor, dim: int) -> Peaks:
    """Peaks of all rows along an axis; the logits are used up."""
    largest, place = logits.max(dim=dim)
    return Peaks(place, largest, logits.sub_(largest.unsqueeze(dim)).exp_().sum(dim=dim))


def _continued(before: Peaks, part: Peaks) -> Peaks:
    """Peaks of rows of which `part` is what follows after `before`."""
    largest = torch.maximum(before.largest, part.largest)
    # Strict: on a tie the lower place stays.
    place = torch.where(part.largest > before.largest, part.place, before.place)
    faded = before.total * (before.largest - largest).exp()
    return Peaks(place, largest, faded + part.total * (part.largest - largest).exp())


def _peak_gradients(
    affinity: Affinity, there: Rows, back: Rows, grad_there: Tensor, grad_back: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Gradients of all costs in blocks: cost_i = lse_i - z_i,peak, so dz = g (P - [place = peak])."""
    for rows in row_blocks(len(grad_there), len(grad_back), grad_back.device):
        forward, backward = affinity.logits(rows)
        forward.sub_(there.normaliser[rows, None]).exp_()
        backward.sub_(back.normaliser).exp_()
        # One peak a row: no two additions meet, so their order cannot matter.
        forward.scatter_add_(1, there.place[rows, None], forward.new_full((len(forward), 1), -1.0))
        inside = (back.place >= rows.start) & (back.place < rows.stop)
        place = (back.place - rows.start).clamp(0, len(backward) - 1)
        backward.scatter_add_(0, place[None], -inside[None].to(backward.dtype))
        yield rows, forward.mul_(grad_there[rows, None]), backward.mul_(grad_back)
