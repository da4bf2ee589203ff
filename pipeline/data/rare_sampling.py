"""Rare-class sampling: which class a slot should show, and in which image.

Source: Hoyer et al., DAFormer, CVPR 2022, section 3.3. Where in the image the crop lies: `crops.py`.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts.errors import DataError
from pipeline.data.parameters import RareSampling
from pipeline.numerics.randomness import Draws

if TYPE_CHECKING:
    from pipeline.data.domain import Domain

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """An image's index in its domain, and the class that it was chosen for."""

    index: int
    class_id: int


class RareImages:
    """The images of a labelled domain that show each class, and how often a class is looked for.

    A class that no image shows is left out, with a warning. DataError without labels, or where no image shows any.
    Every label is read once.
    """

    def __init__(self, domain: "Domain", parameters: RareSampling) -> None:
        self.share = parameters.share
        images = _images_by_class(domain, parameters.min_share)
        if not images:
            raise DataError(
                f"rare_sampling: no image has a class on more than {parameters.min_share:g} of its pixels, or the "
                "images have no labels here; lower `min_share`, or remove the key"
            )
        counts = np.array(domain.class_counts(), float)
        if missing := [index for index in np.flatnonzero(counts) if index not in images]:
            _log.warning(
                "rare_sampling: classes %s are never looked for: no image has them on more than %g of its pixels",
                ", ".join(map(str, missing)),
                parameters.min_share,
            )
        self.classes = sorted(images)
        self.images = [images[index] for index in self.classes]
        self.probability = class_probability(counts / counts.sum(), self.classes, parameters.temperature)

    def draw(self, draws: Draws) -> Shown | None:
        """Draw a class and one of the images that show it; None in the draws that look for no class."""
        if not draws.chance(self.share):
            return None
        place = int(np.searchsorted(np.cumsum(self.probability), draws.uniform(), side="right"))
        place = min(place, len(self.classes) - 1)
        images = self.images[place]
        return Shown(images[draws.below(len(images))], self.classes[place])


def class_probability(frequency: np.ndarray, classes: list[int], temperature: float) -> np.ndarray:
    """Probability of each of `classes`, float64: softmax((1 - f) / temperature) over them.

    `frequency`: share of the labelled pixels by class id. Source: DAFormer, equation 10.
    """
    scores = (1.0 - frequency[classes]) / temperature
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def _images_by_class(domain: "Domain", min_share: float) -> dict[int, list[int]]:
    """Indices of the images that have a class on more than `min_share` of their pixels, by class id."""
    images: dict[int, list[int]] = {}
    for index in range(len(domain)):
        label = domain.label(index)
        if label is not None:
            pixels = np.bincount(label.ravel(), minlength=256)[:255]
            for class_id in np.flatnonzero(pixels > min_share * label.size).tolist():
                images.setdefault(class_id, []).append(index)
    return images
