"""Choose a few images that are hard and unlike each other: greedy k-center selection.

Source: Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018,
algorithm 1; the factor of hardness is ours (`docs/methods/ass.md`).
"""

import numpy as np
import numpy.typing as npt

from pipeline.numerics.randomness import settled_order

FloatArray = npt.NDArray[np.floating]


def k_center_greedy(
    vectors: FloatArray, count: int, hardness: FloatArray, seed: int, centres: FloatArray | None = None
) -> list[int]:
    """Choose `count` rows: first the hardest, then again and again the one of largest hardness x distance.

    `vectors`: (N, D), one per image; distance is Euclidean, to the nearest chosen row, in float64. `centres`:
    (M, D), chosen earlier; with them the first row counts its distance too.
    `hardness`: (N,), at least 0 (mean entropies). Equal candidates are settled by a permutation drawn from
    `seed`, so the result is a pure function of the arguments. Result: distinct indices in order of choice.
    Raises ValueError where `count` is not in [0, N], or for values that are negative or not finite.
    """
    points = np.asarray(vectors, dtype=np.float64)
    weight = np.asarray(hardness, dtype=np.float64)
    _check(points, weight, count)
    preference = np.array(settled_order([seed, len(points)], len(points)), dtype=np.int64)
    free = np.ones(len(points), dtype=bool)
    nearest = distance_to_nearest(points, points[:0] if centres is None else centres)
    chosen: list[int] = []
    for _ in range(count):
        score = weight * nearest if np.isfinite(nearest).all() else weight
        best = _first_of_largest(score, free, preference)
        chosen.append(best)
        free[best] = False
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
    return chosen


def distance_to_nearest(vectors: FloatArray, centres: FloatArray) -> npt.NDArray[np.float64]:
    """Euclidean distance of each row (N, D) to the nearest of `centres` (M, D), in float64; inf without any."""
    points = np.asarray(vectors, dtype=np.float64)
    nearest = np.full(len(points), np.inf)
    for centre in np.asarray(centres, dtype=np.float64):
        nearest = np.minimum(nearest, np.linalg.norm(points - centre, axis=1))
    return nearest


def _first_of_largest(
    score: FloatArray, free: npt.NDArray[np.bool_], preference: npt.NDArray[np.int64]
) -> int:
    """Index of the largest score among the free ones; of equals the one that `preference` ranks lowest."""
    largest = score[free].max()
    candidates = np.flatnonzero(free & (score == largest))
    return int(candidates[preference[candidates].argmin()])


def _check(points: FloatArray, weight: FloatArray, count: int) -> None:
    if points.ndim != 2 or weight.shape != points.shape[:1]:
        raise ValueError(f"vectors must be (N, D) and hardness (N,), found {points.shape} and {weight.shape}")
    if not 0 <= count <= len(points):
        raise ValueError(
            f"cannot choose {count} of {len(points)} images; count must lie in [0, {len(points)}]"
        )
    if not (np.isfinite(points).all() and np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("vectors must be finite and hardness finite and at least 0")
