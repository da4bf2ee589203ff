"""Score snapshots of a training run without labels, and choose among them.

A snapshot's sums over pixels are kept as integers (fixed point), so that they merge by addition to the same
bits whatever the images' order and the parts. Rules and names of the three reported snapshots:
docs/protocol.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.numerics.entropy import self_information

_UNIT = 1 << 32
"""Fixed-point units per pixel: an image is rounded once, to about 1e-10 of one pixel."""


@dataclass(frozen=True)
class PredictionSums:
    """Sums over the pixels of unlabelled images, in exact integers; JSON-ready.

    `pixels`: their number. `entropy`: sum of normalised entropies, `probabilities`: sum of each class's
    probability, both in units of 2**-32.
    """

    pixels: int
    entropy: int
    probabilities: tuple[int, ...]

    def __add__(self, other: "PredictionSums") -> "PredictionSums":
        """Merge the sums of two sets of images; raises ValueError where the number of classes differs."""
        return PredictionSums(
            self.pixels + other.pixels,
            self.entropy + other.entropy,
            tuple(a + b for a, b in zip(self.probabilities, other.probabilities, strict=True)),
        )


def prediction_totals(logits: Tensor) -> Tensor:
    """Sum entropy and class probabilities over the pixels of each image: (B, K, h, w) -> float64 (B, K + 1).

    The normalised entropy comes first. Computed in float32, summed in float64; totals of an image's pieces add
    up, and nothing waits for the device. Raises ValueError for K = 1.
    """
    entropies = self_information(logits).sum(dim=(1, 2, 3), dtype=torch.float64)
    probabilities = torch.softmax(logits.float(), dim=1).sum(dim=(2, 3), dtype=torch.float64)
    return torch.cat([entropies[:, None], probabilities], dim=1)


def as_sums(totals: Tensor, pixels: Sequence[int]) -> list[PredictionSums]:
    """Round the totals (B, K + 1) of images of so many `pixels` to fixed point, each on its own, on the CPU.

    Raises ValueError for totals that are not finite.
    """
    rows = (totals.cpu() * _UNIT).round().tolist()
    if not all(math.isfinite(value) for row in rows for value in row):
        raise ValueError("logits are not finite")
    return [
        PredictionSums(count, int(row[0]), tuple(map(int, row[1:])))
        for row, count in zip(rows, pixels, strict=True)
    ]


def mean_entropy(sums: PredictionSums) -> float:
    """Return the mean normalised entropy over all pixels, in [0, 1]; lower is surer.

    A network that collapsed to one class has a low entropy too; `information_maximisation` sees through it.
    Raises ValueError without any pixel.
    """
    if sums.pixels < 1:
        raise ValueError("no pixel was summed")
    return sums.entropy / (sums.pixels * _UNIT)


def information_maximisation(sums: PredictionSums) -> float:
    """Return the entropy of the mean prediction minus the mean entropy, both normalised; higher is better.

    It is high for predictions that are sure and yet use many classes, and 0 for a network that gives one
    answer everywhere. Lies in [0, 1] up to rounding. Raises ValueError without any pixel.
    Source: Krause et al., Discriminative clustering by regularized information maximization, NIPS 2010.
    """
    conditional = mean_entropy(sums)
    total = sum(sums.probabilities)
    shares = [value / total for value in sums.probabilities if value > 0]
    marginal = -math.fsum(share * math.log(share) for share in shares) / math.log(len(sums.probabilities))
    return marginal - conditional


def _check(steps: Sequence[int], scores: Sequence[float]) -> None:
    if not steps or len(steps) != len(scores):
        raise ValueError(f"selection needs one score per snapshot: {len(steps)} steps, {len(scores)} scores")
    if list(steps) != sorted(set(steps)):
        raise ValueError(f"snapshot steps must increase, found {list(steps)}")
    if any(math.isnan(score) for score in scores):
        raise ValueError("a snapshot's score is NaN")


def highest(steps: Sequence[int], scores: Sequence[float]) -> int:
    """Return the step of the highest score (for `information_maximisation`); a tie goes to the later one.

    `steps` increase. Raises ValueError for no snapshot, lengths that differ, or a NaN.
    """
    _check(steps, scores)
    return max(zip(scores, steps, strict=True))[1]


def oracle_best(steps: Sequence[int], mious: Sequence[float]) -> int:
    """Return the step of the highest mIoU on labels, the choice behind many published numbers.

    `mious`: fractions, compared in percent rounded to 2 decimals; the first maximum wins. It looks at target
    labels, so a result that used it is always called oracle. Raises ValueError as `highest` does.
    Source: the evaluation script of ADVENT; see docs/protocol.md.
    """
    _check(steps, mious)
    rounded = [round(100.0 * value, 2) for value in mious]
    return steps[rounded.index(max(rounded))]
