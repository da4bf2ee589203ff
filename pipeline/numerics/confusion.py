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

from pipeline.numerics.counting import count_places


def confusion_counts(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Count pixels by (true class, predicted class), and those without either.

    `prediction`, `label`: integer maps of one shape and device, any number of axes, batch axes included; uint8
    is quickest. Result: int64 (C + 1, C + 1) on that device, rows = truth, columns = prediction; the last row
    holds pixels whose label is outside [0, C), such as the ignore index 255, the last column predictions
    outside. Nothing waits for the device. Raises ValueError where the shapes differ.
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape"
        )
    truth, guess = (
        one.masked_fill((one < 0) | (one >= num_classes), num_classes).int() for one in (label, prediction)
    )
    side = num_classes + 1
    counts = torch.zeros(side, side, dtype=torch.int64, device=label.device)
    count_places(counts, truth.mul_(side).add_(guess))
    return counts


def confusion_matrix(counts: Tensor) -> Tensor:
    """Return the matrix in (sums of) `confusion_counts`: int64 (C, C) on the CPU, rows = truth.

    A pixel counts iff its label is in [0, C); a map without any class gives zeros. Raises ValueError where a
    prediction lay outside [0, C), under an ignored label too.
    """
    table = counts.cpu()
    wrong = int(table[:, -1].sum())
    if wrong:
        raise ValueError(f"{wrong} predicted pixels are outside the classes 0..{len(table) - 2}")
    return table[:-1, :-1].contiguous()


def pixels_by_class(counts: Tensor) -> Tensor:
    """Pixels with a label that are right, labelled and predicted as each class, of `confusion_counts` stacked.

    (N, C + 1, C + 1) -> int64 (N, 3, C). Nothing waits for the device.
    """
    labelled = counts[:, :-1]
    right = labelled.diagonal(dim1=1, dim2=2)
    return torch.stack([right, labelled.sum(dim=2), labelled.sum(dim=1)[:, :-1]], dim=1)


def image_figures(pixels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean IoU over the classes that occur, and pixel accuracy, of each image, as fractions: float64 (N,) twice.

    `pixels`: `pixels_by_class`. NaN for an image without a label.
    """
    right, labelled, predicted = np.moveaxis(pixels.astype(np.float64), 1, 0)
    union = labelled + predicted - right
    occurs = (union > 0).sum(axis=1)
    iou = np.divide(right, union, out=np.zeros_like(right), where=union > 0)
    return _share(iou.sum(axis=1), occurs), _share(right.sum(axis=1), labelled.sum(axis=1))


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
