"""What passes compute: confusion matrices, entropy scores with argmax maps, sums for label-free selection."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.inference.passes import Images, Measure
from pipeline.inference.test_modes import Size
from pipeline.numerics.confusion import confusion_matrix
from pipeline.numerics.entropy import entropy_map
from pipeline.numerics.selection import PredictionSums, prediction_sums


class MapWriter(Protocol):
    """Takes uint8 label maps by image name; `close` makes them durable."""

    def add(self, name: str, array: np.ndarray) -> None:
        """Write one map (H, W)."""
        ...

    def close(self) -> None:
        """Finish the writer's files."""
        ...


class ConfusionMeasure(Measure[Tensor]):
    """Confusion matrix over all images, int64 (K, K), rows = label, columns = prediction.

    Logits are up-sampled to each label's own size before the argmax (ties go to the lowest class).
    """

    def __init__(self, labels: Images, num_classes: int) -> None:
        """`labels[position]` is the uint8 label map (h, w) of the pass's image at that position."""
        self.labels, self.num_classes = labels, num_classes
        self.total: Tensor | None = None

    def load(self, position: int) -> np.ndarray:
        """Read the image's label map."""
        return self.labels[position]

    def size(self, label_size: Size, loaded: np.ndarray | None) -> Size:
        """Return the label map's own size."""
        assert loaded is not None
        return (loaded.shape[0], loaded.shape[1])

    def begin(self, chunk_start: int) -> None:
        """Start with an empty matrix."""
        self.total = None

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Tensor) -> None:
        """Count the pixels of B images; matrix and argmax stay on the device."""
        labels = torch.from_numpy(np.stack([label for label in loaded if label is not None]))
        counted = confusion_matrix(logits.argmax(dim=1), labels.to(logits.device), self.num_classes)
        self.total = counted if self.total is None else self.total + counted

    def end(self) -> dict[str, Tensor]:
        """Return the chunk's matrix."""
        if self.total is None:
            return {"confusion": torch.zeros((self.num_classes, self.num_classes), dtype=torch.int64)}
        return {"confusion": self.total.cpu()}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> Tensor:
        """Add the chunks' matrices."""
        total = torch.zeros((self.num_classes, self.num_classes), dtype=torch.int64)
        for chunk in chunks:
            total += chunk["confusion"]
        return total


class MappedConfusionMeasure(ConfusionMeasure):
    """Confusion matrix over groups of a model's classes, int64 (G, G), rows = label, columns = prediction.

    The logit of a group is the largest of its classes' logits, so the answer is the group of the most
    probable class among those that are in any group. With one class per group, in the model's order, this is
    `ConfusionMeasure` itself.
    """

    def __init__(self, labels: Images, groups: Sequence[Sequence[int]]) -> None:
        """`groups[g]`: ids of the model's classes that stand for label id g; none may be empty."""
        super().__init__(labels, len(groups))
        self.groups = [list(group) for group in groups]

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Tensor) -> None:
        """Count the pixels of B images."""
        merged = torch.stack([logits[:, group].amax(dim=1) for group in self.groups], dim=1)
        super().add(positions, loaded, merged)


@dataclass(frozen=True)
class EntropyScores:
    """Scores of N images in the order of the pass.

    `entropy`: float64 (N,), the mean over pixels of the normalised entropy, in [0, 1] (Pan et al., IntraDA,
    CVPR 2020, equation 4, divided by ln K). `pixels`: int64 (N, K), predicted pixels of each class.
    """

    entropy: np.ndarray
    pixels: np.ndarray


class EntropyMeasure(Measure[EntropyScores]):
    """Entropy and predicted pixels per image; the argmax maps go to a writer as they are made."""

    def __init__(
        self,
        names: Sequence[str],
        num_classes: int,
        open_maps: Callable[[int], MapWriter] | None = None,
    ) -> None:
        """`open_maps(start)` returns the writer of the chunk that begins at image `start`.

        It replaces what an unfinished chunk that began there has left. Without it no maps are kept.
        """
        self.names, self.num_classes, self.open_maps = names, num_classes, open_maps
        self.writer: MapWriter | None = None
        self.entropy: list[Tensor] = []
        self.pixels: list[Tensor] = []

    def begin(self, chunk_start: int) -> None:
        """Start a chunk and its writer."""
        self.entropy, self.pixels = [], []
        self.writer = self.open_maps(chunk_start) if self.open_maps else None

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Tensor) -> None:
        """Score B images; the mean of the float32 map is taken in float64."""
        self.entropy.append(entropy_map(logits).flatten(1).double().mean(dim=1))
        labels = logits.argmax(dim=1)
        self.pixels.extend(torch.bincount(one.flatten(), minlength=self.num_classes) for one in labels)
        if self.writer is not None:
            maps = labels.to(torch.uint8).cpu().numpy()
            for position, label in zip(positions, maps, strict=True):
                self.writer.add(self.names[position], label)

    def end(self) -> dict[str, Tensor]:
        """Close the writer, then return the chunk's scores."""
        if self.writer is not None:
            self.writer.close()
        return {"entropy": torch.cat(self.entropy).cpu(), "pixels": torch.stack(self.pixels).cpu()}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> EntropyScores:
        """Concatenate the chunks' scores."""
        entropy, pixels = [np.zeros(0)], [np.zeros((0, self.num_classes), dtype=np.int64)]
        for chunk in chunks:
            entropy.append(chunk["entropy"].numpy())
            pixels.append(chunk["pixels"].numpy())
        return EntropyScores(np.concatenate(entropy), np.concatenate(pixels))


class SelectionMeasure(Measure[PredictionSums]):
    """Exact sums of entropy and class probabilities, from which snapshots are scored without labels.

    The result goes into `numerics.selection.information_maximisation` and `mean_entropy`.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.rows: list[list[int]] = []

    def begin(self, chunk_start: int) -> None:
        """Start a chunk."""
        self.rows = []

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Tensor) -> None:
        """Sum over the pixels of B images, each rounded to fixed point on its own.

        An image that is not finite gets zeros: the pass names it when the chunk ends.
        """
        for image in logits.split(1):
            if bool(image.isfinite().all()):
                sums = prediction_sums(image)
                self.rows.append([sums.pixels, sums.entropy, *sums.probabilities])
            else:
                self.rows.append([0] * (self.num_classes + 2))

    def end(self) -> dict[str, Tensor]:
        """Return one row of integers per image; a sum over many images may pass 64 bits."""
        return {"sums": torch.tensor(self.rows, dtype=torch.int64)}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> PredictionSums:
        """Add all images in integers of any size."""
        rows = [row for chunk in chunks for row in chunk["sums"].tolist()]
        columns = [sum(column) for column in zip(*rows, strict=True)] or [0] * (self.num_classes + 2)
        return PredictionSums(columns[0], columns[1], tuple(columns[2:]))
