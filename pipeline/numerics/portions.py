"""Which images of source and target a self-training round uses.

Source: Zou et al., CBST, ECCV 2018, section 5; docs/methods/cbst.md has the published settings and where ours
differs.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pipeline.numerics.randomness import permutation

Drawing = Literal["nested", "random"]


def subset_size(count: int, share: float) -> int:
    """Return `floor(count * share)` in float64, the number of source images of a round; 0 is possible.

    0.03 of 24,966 images are 748. Raises ValueError for a share outside [0, 1].
    """
    if count < 0 or not 0.0 <= share <= 1.0:
        raise ValueError(
            f"a subset needs a count of at least 0 and a share in [0, 1], found {count}, {share}"
        )
    return int(count * share)


def source_subset(
    names: Sequence[str], share: float, seed: int, round_index: int, drawing: Drawing = "nested"
) -> list[str]:
    """Draw the source images of a round without replacement, in drawing order.

    "nested" draws from one permutation for all rounds, so that a larger share contains the smaller one
    (CBST); "random" draws anew each round (CRST). The result is a function of the arguments alone (its own
    permutation, not that of the released code) and always a list: of one name, or none, for a tiny
    share. Raises ValueError as `subset_size` does and for another drawing.
    """
    if drawing not in ("nested", "random"):
        raise ValueError(f"drawing must be nested or random, found {drawing!r}")
    key = [seed, zlib.crc32(b"source subset"), round_index + 1 if drawing == "random" else 0]
    order = permutation(key, len(names))
    return [names[int(i)] for i in order[: subset_size(len(names), share)]]


def class_confidence(best: Tensor, label: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Sum one image's best scores by predicted class.

    `best`, `label`: float32 and uint8 (H, W), from `winner`. Result: float64 (K,) sums of the best score over
    the pixels of the class, and int64 (K,) pixel counts, on the scores' device; 0 for a class that is not
    predicted. Summed class by class in a fixed order, so the bits are the same in every run.
    """
    masks = [label == index for index in range(num_classes)]
    sums = torch.stack([torch.where(mask, best, 0.0).sum(dtype=torch.float64) for mask in masks])
    return sums, torch.stack([mask.sum() for mask in masks])


def class_balanced_score(sums: Sequence[float], counts: Sequence[int]) -> float:
    """Return the mean over predicted classes of each class's mean confidence; higher is surer.

    `sums`, `counts`: of one image, from `class_confidence`. Every predicted class weighs the same, however
    few its pixels. An image without any predicted pixel scores 0.
    """
    means = [total / count for total, count in zip(sums, counts, strict=True) if count > 0]
    return float(sum(means) / len(means)) if means else 0.0


def select_class_balanced(names: Sequence[str], scores: Sequence[float], share: float = 0.17) -> list[str]:
    """Choose the images of highest class-balanced score ("CBS"), best first; a tie goes by name.

    Their number is `floor(N * share)`, at least 1 where there is any image: of 2,975 images 0.17 are 505, the
    number that the released codes of CBST and CRST train on. Raises ValueError for lengths that differ, a
    NaN, or a share outside [0, 1].
    """
    if len(names) != len(scores) or any(math.isnan(score) for score in scores):
        raise ValueError(
            f"selection needs a score per name and no NaN: {len(names)} names, {len(scores)} scores"
        )
    order = sorted(range(len(names)), key=lambda i: (-scores[i], names[i]))
    return [names[i] for i in order[: max(1, subset_size(len(names), share))]]
