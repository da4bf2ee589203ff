"""Exact confidence thresholds of self-training in two streaming passes, and the pseudo-labels they give.

The threshold of a class is an order statistic of millions of float32 scores. Instead of collecting and
sorting them, a radix histogram counts the upper 16 bits of an order-preserving integer key (pass 1), finds
the bin that holds the wanted rank, and counts the lower 16 bits inside that bin (pass 2):

    for each image: count_high(high, *winner(scores), rule)  # int64 (rows, 65536), 10 MB for 19 classes
    ranks = locate(high, rule)
    for each image: count_low(low, *winner(scores), rule, ranks)
    found = thresholds(ranks, low, rule)
    label = pseudo_label(scores, found.values)               # image by image

Counts merge by addition, so images, parts and their order change no bit of the result, which is the value
that sorting would give. Scores may have any finite value: bicubic probabilities leave [0, 1]. An image's
scores must be computed with the same arithmetic in all passes.

Source: Zou et al., CBST, ECCV 2018, algorithms 1 and 2; options and published settings: docs/methods/cbst.md.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pipeline.numerics import IGNORE
from pipeline.numerics.counting import count_places
from pipeline.numerics.winner import winner

BINS = 1 << 16
_ZERO_BIN = 1 << 15  # the key of +0.0 is 0x80000000: upper half 0x8000, lower half 0
_FINITE = slice(0x0080, 0xFF80)  # upper key halves of finite values; NaN and infinities lie outside


@dataclass(frozen=True)
class ThresholdRule:
    """How thresholds are taken; two passes over the same scores need the same rule.

    `num_classes`: K, 1 to 254. `portion`: share of the sample that is kept, in [0, 1]. `scope`: "class" gives
    each class its own threshold (CBST), "global" one for all (ST). `stride`: every n-th pixel of a class in an
    image enters the sample, in raster order from its first (released code 4). `cap`: no threshold is above
    it, that of an empty sample included.
    """

    num_classes: int
    portion: float
    scope: Literal["class", "global"] = "class"
    stride: int = 1
    cap: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.portion <= 1.0:
            raise ValueError(f"portion must be in [0, 1], found {self.portion}")
        if not 1 <= self.num_classes < IGNORE or self.stride < 1:
            raise ValueError(f"num_classes {self.num_classes} or stride {self.stride} is out of range")
        if self.scope not in ("class", "global"):
            raise ValueError(f"unknown scope {self.scope!r}")
        if self.cap is not None and not self.cap > 0.0:
            raise ValueError(f"cap must be above 0, found {self.cap}")

    @property
    def rows(self) -> int:
        """Number of thresholds that are searched: one per class, or 1."""
        return self.num_classes if self.scope == "class" else 1

    def rank(self, count: int) -> int:
        """Return how many of a sample of `count` values are kept: rounded down, in float64 arithmetic."""
        return math.floor(count * self.portion)


@dataclass(frozen=True)
class Ranks:
    """Where the wanted value of each row lies after pass 1; lists of length `rule.rows`.

    `counts`: sampled pixels. `ranks`: the wanted value is the rank-th largest of the sample; 0 means none.
    `bins`: its upper key half. `remaining`: its rank among the values of that bin. `in_bin`: their number.
    """

    counts: tuple[int, ...]
    ranks: tuple[int, ...]
    bins: tuple[int, ...]
    remaining: tuple[int, ...]
    in_bin: tuple[int, ...]


@dataclass(frozen=True)
class Thresholds:
    """Thresholds and what they rest on; all but `values` are lists of length `rule.rows`.

    `values`: float32 (K,) on the CPU, each above 0; 1.0 for a row with rank 0. In global scope all are equal.
    """

    values: Tensor
    counts: tuple[int, ...]
    ranks: tuple[int, ...]


def _keys(values: Tensor) -> Tensor:
    """Return int32 keys that order as the float32 `values` do; the unsigned key is this XOR 0x80000000."""
    bits = (values + 0.0).view(torch.int32)  # -0.0 + 0.0 is +0.0: equal values need equal keys
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _sample(best: Tensor, label: Tensor, rule: ThresholdRule) -> tuple[Tensor, Tensor]:
    """Return row (int32) and key (int32) of each sampled pixel of one image."""
    if best.dtype != torch.float32 or label.dtype != torch.uint8 or best.shape != label.shape:
        raise ValueError(
            f"best scores and classes must be float32 and uint8 (H, W), found {best.dtype} "
            f"{tuple(best.shape)} and {label.dtype} {tuple(label.shape)}"
        )
    best, label = best.flatten(), label.flatten()
    if rule.stride > 1:
        places = [
            torch.nonzero(label == index).flatten()[:: rule.stride] for index in range(rule.num_classes)
        ]
        chosen = torch.cat(places)
        best, label = best[chosen], label[chosen]
    rows = label.int() if rule.scope == "class" else torch.zeros_like(label, dtype=torch.int32)
    return rows, _keys(best)


def count_high(table: Tensor, best: Tensor, label: Tensor, rule: ThresholdRule) -> None:
    """Pass 1 for one image: add the upper key halves of its sampled best scores to `table`.

    `table`: int64 (rows, 65536), all zero before the first image. `best`, `label`: float32 and uint8 (H, W) on
    the same device, from `winner` of probabilities or prior-weighted probabilities (K, H, W). Raises
    ValueError for other types; `locate` does for a score that is not finite.
    """
    rows, keys = _sample(best, label, rule)
    count_places(table, rows * BINS + (keys >> 16) + _ZERO_BIN)


def locate(high: Tensor, rule: ThresholdRule) -> Ranks:
    """Find, from the merged counts of pass 1, the bin that holds the wanted rank of each row.

    `high`: int64 (rows, 65536). The rank is `portion * count` rounded down; a class that is never
    predicted has count and rank 0. Raises ValueError for another shape, and where a score was not finite.
    """
    if tuple(high.shape) != (rule.rows, BINS):
        raise ValueError(f"pass-1 counts must be ({rule.rows}, {BINS}), found {tuple(high.shape)}")
    table = high.cpu()
    if bool(table[:, : _FINITE.start].any() or table[:, _FINITE.stop :].any()):
        raise ValueError("scores hold a value that is not finite")
    counts = table.sum(dim=1).tolist()
    ranks, bins, remaining, in_bin = [], [], [], []
    for row in range(rule.rows):
        rank = rule.rank(counts[row])
        position, above = _from_top(table[row], rank)
        ranks.append(rank)
        bins.append(position)
        remaining.append(rank - above)
        in_bin.append(int(table[row, position]))
    return Ranks(*(tuple(part) for part in (counts, ranks, bins, remaining, in_bin)))


def _from_top(counts: Tensor, rank: int) -> tuple[int, int]:
    """Return the bin of the rank-th largest value (rank 0: the highest bin), and the count above that bin."""
    from_top = torch.cumsum(counts.flip(0), dim=0)
    place = int(torch.searchsorted(from_top, rank))
    above = int(from_top[place - 1]) if place else 0
    return len(counts) - 1 - place, above


def count_low(table: Tensor, best: Tensor, label: Tensor, rule: ThresholdRule, ranks: Ranks) -> None:
    """Pass 2 for one image: add the lower key halves of the values in each row's located bin to `table`.

    Arguments and errors as for `count_high`; `ranks` from `locate`.
    """
    rows, keys = _sample(best, label, rule)
    wanted = torch.tensor(ranks.bins, dtype=torch.int32, device=keys.device)
    inside = (keys >> 16) + _ZERO_BIN == wanted[rows]
    count_places(table, rows * BINS + (keys & 0xFFFF), inside.long())


def thresholds(ranks: Ranks, low: Tensor, rule: ThresholdRule) -> Thresholds:
    """Combine both passes to the threshold of each row: the rank-th largest value of its sample, exactly.

    `low`: merged int64 (rows, 65536) of pass 2. A row with rank 0 gets 1.0: only certain pixels are kept. A
    threshold of 0 or less, possible with priors only, becomes 1.0 too, so that scores can be divided by it.
    Raises ValueError where pass 2 did not count the values that pass 1 had put in a bin: the passes then saw
    different scores (another device, dtype or image size).
    """
    table = low.cpu()
    found = []
    for row in range(rule.rows):
        seen = int(table[row].sum())
        if seen != ranks.in_bin[row]:
            raise ValueError(
                f"row {row}: pass 1 counted {ranks.in_bin[row]} values in the threshold's bin, "
                f"pass 2 {seen}; both passes must compute the scores in the same way"
            )
        found.append(_value(ranks, row, table[row]) if ranks.ranks[row] else 1.0)
    values = torch.tensor(found, dtype=torch.float32)
    values = torch.where(values > 0.0, values, torch.ones_like(values))
    if rule.cap is not None:
        values = values.clamp(max=rule.cap)
    return Thresholds(values.expand(rule.num_classes).clone(), ranks.counts, ranks.ranks)


def _value(ranks: Ranks, row: int, low: Tensor) -> float:
    """Return the value whose key is the row's bin followed by the lower half that holds the rank."""
    lower, _ = _from_top(low, ranks.remaining[row])
    signed = ((ranks.bins[row] << 16) | lower) - (1 << 31)
    key = torch.tensor([signed], dtype=torch.int32)
    return float((key ^ ((key >> 31) & 0x7FFFFFFF)).view(torch.float32))


def pseudo_label(scores: Tensor, values: Tensor) -> Tensor:
    """Label the pixels that reach a threshold; the others get 255.

    `scores`: float32 (K, H, W), the scores that the thresholds were taken from. `values`: float32 (K,), above
    0. The label is the class of the largest quotient score / threshold (the lowest id on a tie), kept iff
    that quotient is at least 1; in float32 this is exactly score >= threshold. Result: uint8 (H, W).
    Source: CBST, section 4 (>= for its >, as in the released code).
    """
    if not bool((values > 0).all()) or values.shape != scores.shape[:1]:
        raise ValueError(f"thresholds must be {scores.shape[0]} positive numbers, found {values.tolist()}")
    best, label = winner(scores / values[:, None, None])
    return label.masked_fill_(~(best >= 1.0), IGNORE)
