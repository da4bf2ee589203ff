"""The affinity of a source and a target image in both directions, made in blocks of source rows.

`there` (r, M) holds contrast-normalised logits of source rows over all target positions; `back` (r, M) those of
the target's rows, transposed: a column of `back` over all blocks is one row of the way back. For features both
come from one product, since cosine is symmetric; for predictions each direction has its own divergence.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pipeline.numerics.streaming import (
    ALL,
    Cosine,
    Divergence,
    Keys,
    Operand,
    contrast_scale,
    feature_blocks,
    key_mean,
)


class Contrast(NamedTuple):
    """What normalises the affinity, without gradient.

    `source_centre`, `target_centre` (C,): mean of each side's rows as keys. `there` (N, 1): 1 / (std + 1e-10)
    over the targets of each source row; `back` (1, M): over the sources of each target.
    """

    source_centre: Tensor
    target_centre: Tensor
    there: Tensor
    back: Tensor


def contrast_of(source: Operand, target: Operand) -> Contrast:
    """Measure both sides."""
    of_source, of_target = Keys(source, key_mean(source)), Keys(target, key_mean(target))
    there, back = contrast_scale(source, of_target), contrast_scale(target, of_source)
    return Contrast(of_source.centre, of_target.centre, there[:, None], back[None, :])


Blocks = Iterable[tuple[slice, Tensor, Tensor]]
"""Slices of source rows with the gradients of their `there` and `back`, which are used up."""


class Affinity(Protocol):
    """Blocks of the affinity of rows (N, C) and (M, C), and the way of their gradients back to both."""

    def __init__(self, source: Tensor, target: Tensor, contrast: Contrast) -> None: ...

    def logits(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Make `there` and `back` of a block of source rows, (r, M) each."""
        ...

    def gradients(self, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Sum the gradients of blocks that cover the source's rows: (N, C) and (M, C)."""
        ...


class CosineAffinity:
    """Cosine of features. Rows are centred on both sides before the product, where all point the same way."""

    def __init__(self, source: Tensor, target: Tensor, contrast: Contrast) -> None:
        self.source, self.target, self.contrast = Cosine(source), Cosine(target), contrast
        self.keys = Keys(self.target, contrast.target_centre)
        self.shift = self.keys.products(contrast.source_centre[None])

    def logits(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Both from one product: <a, b - b'> = <a - a', b - b'> + <a', b - b'>, and alike for the way back."""
        own = self.source.key(rows).sub_(self.contrast.source_centre)
        product = self.keys.products(own)
        there = (product + self.shift).mul_(self.contrast.there[rows])
        shift = own @ self.contrast.target_centre
        return there, product.add_(shift[:, None]).mul_(self.contrast.back)

    def gradients(self, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Add both directions' gradients of the cosine, then two products."""
        of_source = torch.empty_like(self.source.values)
        of_target = torch.zeros_like(self.target.values)
        for rows, there, back in blocks:
            weight = there.mul_(self.contrast.there[rows]).add_(back.mul_(self.contrast.back))
            of_target.addmm_(weight.T, self.source.query(rows))
            grad = self.keys.weighted(weight)
            grad += weight.sum(dim=1, keepdim=True) * self.contrast.target_centre
            of_source[rows] = self.source.pull_query(rows, grad)
        for rows in feature_blocks(of_target):
            of_target[rows] = self.target.pull_query(rows, of_target[rows])
        return of_source, of_target


class DivergenceAffinity:
    """-KL of predictions; the way back is the divergence the other way round, no transpose."""

    def __init__(self, source: Tensor, target: Tensor, contrast: Contrast) -> None:
        self.source, self.target, self.contrast = Divergence(source), Divergence(target), contrast
        self.keys = Keys(self.target, contrast.target_centre)

    def logits(self, rows: slice) -> tuple[Tensor, Tensor]:
        """A product for each direction."""
        there = self.keys.products(self.source.query(rows)).mul_(self.contrast.there[rows])
        own = self.source.key(rows).sub_(self.contrast.source_centre)
        return there, (own @ self.target.query(ALL).T).mul_(self.contrast.back)

    def gradients(self, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Each side is query in one direction and key in the other."""
        of_source = torch.empty_like(self.source.values)
        of_target, of_target_keys = (torch.zeros_like(self.target.values) for _ in range(2))
        for rows, there, back in blocks:
            there.mul_(self.contrast.there[rows])
            back.mul_(self.contrast.back)
            own = self.source.key(rows).sub_(self.contrast.source_centre)
            of_target_keys.addmm_(there.T, self.source.query(rows))
            of_target.addmm_(back.T, own)
            of_source[rows] = self.keys.weighted(there)
            of_source[rows] += self.source.pull_key(rows, back @ self.target.query(ALL))
        return of_source, of_target + self.target.pull_key(ALL, of_target_keys)
