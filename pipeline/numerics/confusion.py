"""Confusion counts on the device, and the table of metrics made of them.

Counts are int64 and add up: over images, batches, parts and processes, in any order, to the same bits.
Definitions and the rule for absent classes: docs/protocol.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Count pixels by (true class, predicted class).

    `prediction`, `label`: integer maps of one shape and device, any number of axes, batch axes included.
    Result: int64 (C, C) on that device, rows = truth, columns = prediction. A pixel counts iff its label is
    in [0, C): the ignore index 255 does not, and a map without any class gives zeros. Raises ValueError where
    the shapes differ, and where a prediction lies outside [0, C), under an ignored label too (such pixels are
    counted along; reading their number is the one transfer to the host).
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape"
        )
    truth, guess = label.reshape(-1).long(), prediction.reshape(-1).long()
    ignored, outside = num_classes**2, num_classes**2 + 1
    cell = torch.where((truth >= 0) & (truth < num_classes), truth * num_classes + guess, ignored)
    cell = torch.where((guess >= 0) & (guess < num_classes), cell, outside)
    counts = torch.bincount(cell, minlength=outside + 1)
    wrong = int(counts[outside])
    if wrong:
        raise ValueError(f"{wrong} predicted pixels are outside the classes 0..{num_classes - 1}")
    return counts[:ignored].view(num_classes, num_classes)


@dataclass(frozen=True)
class SubsetIou:
    """Mean IoU over some classes, as fractions.

    `present`: over those that occur in truth or prediction (NaN where none does); `zero`: absent ones as 0;
    `absent`: how many are absent. On a full evaluation split the two means agree.
    """

    present: float
    zero: float
    absent: int


@dataclass(frozen=True)
class IouTable:
    """Metrics of one confusion matrix, as fractions in [0, 1]; NaN where a class or every pixel is absent."""

    iou: tuple[float, ...]
    dice: tuple[float, ...]
    miou_present: float
    miou_zero: float
    absent: int
    pixel_accuracy: float
    pixels: int
    subsets: Mapping[str, SubsetIou]


def _subset(iou: NDArray[np.float64]) -> SubsetIou:
    here = iou[~np.isnan(iou)]
    return SubsetIou(
        present=float(here.mean()) if here.size else math.nan,
        zero=float(here.sum() / iou.size) if iou.size else math.nan,
        absent=int(iou.size - here.size),
    )


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def iou_table(
    matrix: Tensor | NDArray[np.int64], subsets: Mapping[str, Sequence[int]] | None = None
) -> IouTable:
    """Compute IoU and its means, Dice and pixel accuracy in float64 from a confusion matrix.

    `matrix`: integer (C, C), rows = truth. `subsets`: class ids by name, for example the 13 of SYNTHIA's 16:
    a mean over some classes of this same matrix, never a rescaled mean over all classes.
    IoU_c = n_cc / (row_c + column_c - n_cc), Dice_c = 2 n_cc / (row_c + column_c); a class with neither truth
    nor prediction is absent: NaN in `iou` and `dice`. Raises ValueError for a matrix that is not square.
    """
    counts = matrix.cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion matrix is square, found shape {counts.shape}")
    true_positive = np.diagonal(counts).astype(np.float64)
    either = (counts.sum(axis=0) + counts.sum(axis=1)).astype(np.float64)
    iou = _share(true_positive, either - true_positive)
    overall = _subset(iou)
    pixels = int(counts.sum())
    return IouTable(
        iou=tuple(iou.tolist()),
        dice=tuple(_share(2 * true_positive, either).tolist()),
        miou_present=overall.present,
        miou_zero=overall.zero,
        absent=overall.absent,
        pixel_accuracy=float(true_positive.sum() / pixels) if pixels else math.nan,
        pixels=pixels,
        subsets={name: _subset(iou[list(ids)]) for name, ids in (subsets or {}).items()},
    )


def percent(fraction: float) -> float | None:
    """Return a fraction in percent with 2 decimals, the form of every reported metric; None for NaN."""
    return None if math.isnan(fraction) else round(100.0 * fraction, 2)
