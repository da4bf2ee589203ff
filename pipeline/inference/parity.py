"""Whether an exported model says what the trained one does, pixel by pixel, on pictures of the user.

Compared are `ids` of a batch of two (the picture and its mirror image) at the size that `predict` gives to the
network, `ids` at other sizes where the graph takes them, and the whole of `predict`. For a graph of one size the pictures
are first stretched to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.datasets.decoding import read_image
from pipeline.inference.exported import IDS, Run
from pipeline.inference.prediction import Model, input_image, predict_image
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.numerics.winner import winner

LEAST = 0.999
"""Share of equal ids below which an export is refused."""
PICTURES = 20
OTHER_SIZES = ((0.75, 0.75), (1.25, 1.0), (1.0, 0.8), (1.1, 1.3))
"""Factors of width and height, taken in turn."""


@dataclass
class Agreement:
    """Pixels compared, and those of the same id, by what was compared; processor times of the exported graph over the
    model's."""

    pixels: dict[str, int] = field(default_factory=dict)
    equal: dict[str, int] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)

    def add(self, what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Count two maps of ids of the same shape."""
        self.pixels[what] = self.pixels.get(what, 0) + ours.size
        self.equal[what] = self.equal.get(what, 0) + int((ours == theirs).sum())

    def shares(self) -> dict[str, float]:
        """Share of equal ids, 0 to 1, by what was compared."""
        return {what: self.equal[what] / pixels for what, pixels in self.pixels.items()}

    def holds(self) -> bool:
        """Whether every share is large enough."""
        return min(self.shares().values()) >= LEAST


def agreement(model: Model, exported: Model, run: Run, pictures: Sequence[Path]) -> Agreement:
    """Compare a model and its export on pictures; DataError names one that cannot be read."""
    found = Agreement()
    for number, path in enumerate(pictures):
        picture = Image.fromarray(read_image(path))
        if not exported.network.any_size:
            picture = picture.resize(model.working_size)
        small = input_image(model, picture)
        pixels = _tensor(small)
        found.times.append(_compare(found, "its own size", model, run, torch.cat([pixels, pixels.flip(2)])))
        if exported.network.any_size:
            factors = OTHER_SIZES[number % len(OTHER_SIZES)]
            size = [max(32, round(side * factor)) for side, factor in zip(small.size, factors, strict=True)]
            _compare(found, "other sizes", model, run, _tensor(small.resize(size)))
        found.add("predict", predict_image(model, picture).ids, predict_image(exported, picture).ids)
    return found


def _tensor(picture: Image.Image) -> Tensor:
    """uint8 (1, H, W, 3)."""
    return torch.from_numpy(np.array(picture))[None]


def _compare(found: Agreement, what: str, model: Model, run: Run, images: Tensor) -> float:
    """Count the ids of both; return the processor time of the exported graph over that of the model."""
    size = model.network.label_size((images.shape[1], images.shape[2]))
    start = process_time()
    with torch.inference_mode():
        ours = winner(logits_at(Plain(), model.network, images.permute(0, 3, 1, 2), size))[1]
    middle = process_time()
    theirs = run(IDS, images)
    end = process_time()
    found.add(what, ours.numpy(), theirs.numpy())
    return (end - middle) / (middle - start)
