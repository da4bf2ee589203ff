"""Order target images by entropy, and cut them into easy and hard.

Source: Pan et al., IntraDA, CVPR 2020, section 3.2. Plain Python, so that a test can follow every number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Variant = Literal["plain", "rare_code", "rare_paper"]


@dataclass(frozen=True)
class Split:
    """Image names of the two parts, each from the lowest score to the highest."""

    easy: tuple[str, ...]
    hard: tuple[str, ...]


def ranking_scores(
    variant: Variant, entropies: Sequence[float], rare_present: Sequence[int], num_rare: int, num_classes: int
) -> list[float]:
    """Return the score of each image; lower is easier.

    `entropies`: mean normalised entropy of each image, in [0, 1]. `rare_present`: how many of the taxonomy's
    `num_rare` rare classes have at least one pixel in the image's argmax map. Variants:
    `plain` (the paper's default): the entropy H itself. `rare_code` (the released code):
    `H / K * ((num_rare - n) / num_rare + 0.5)`. `rare_paper` (the paper's text): `H / max(1, n)`; the paper
    does not say what n = 0 gives.
    Raises ValueError for another variant, for entropies that are not finite, for counts outside
    [0, num_rare], and for a rare variant where the taxonomy names no rare class.
    Source: IntraDA, sections 3.2 and 4 (rare classes).
    """
    if len(entropies) != len(rare_present):
        raise ValueError(f"{len(entropies)} entropies but {len(rare_present)} rare-class counts")
    if not all(math.isfinite(value) for value in entropies):
        raise ValueError("an entropy is not finite")
    if not all(0 <= count <= num_rare for count in rare_present):
        raise ValueError(f"a rare-class count is outside [0, {num_rare}]")
    if variant == "plain":
        return [float(value) for value in entropies]
    if num_rare < 1:
        raise ValueError(f"ranking {variant} needs rare classes, the taxonomy names none")
    if variant == "rare_code":
        return [
            value / num_classes * ((num_rare - count) / num_rare + 0.5)
            for value, count in zip(entropies, rare_present, strict=True)
        ]
    if variant == "rare_paper":
        return [value / max(1, count) for value, count in zip(entropies, rare_present, strict=True)]
    raise ValueError(f"ranking must be plain, rare_code or rare_paper, found {variant!r}")


def rank(names: Sequence[str], scores: Sequence[float]) -> list[int]:
    """Return the images' positions from the lowest score to the highest; equal scores go by name.

    The result depends on the pairs alone, not on the order in which they come. Raises ValueError where names
    repeat, lengths differ or a score is NaN, which has no place in an order.
    """
    if len(names) != len(scores) or len(set(names)) != len(names):
        raise ValueError(
            f"ranking needs one score per distinct name: {len(names)} names, {len(scores)} scores"
        )
    if any(math.isnan(score) for score in scores):
        raise ValueError("a ranking score is NaN")
    return sorted(range(len(names)), key=lambda i: (scores[i], names[i]))


def split_by_entropy(names: Sequence[str], scores: Sequence[float], easy_share: float) -> Split:
    """Cut the ranked images: the first `int(N * easy_share)` are easy, the rest hard.

    `easy_share`: the paper's lambda, in [0, 1]; 0 and 1 give an empty part. The product is float64 and
    truncated: 2,975 images at 0.67 are 1,993 easy and 982 hard. Raises ValueError for a share outside [0, 1]
    and as `rank` does. Source: IntraDA, section 3.2.
    """
    if not 0.0 <= easy_share <= 1.0:
        raise ValueError(f"the easy share (lambda) must be in [0, 1], found {easy_share}")
    ordered = [names[i] for i in rank(names, scores)]
    count = int(len(ordered) * easy_share)
    return Split(easy=tuple(ordered[:count]), hard=tuple(ordered[count:]))
