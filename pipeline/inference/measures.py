"""What passes compute: confusion matrices, entropy scores with argmax maps, sums for label-free selection."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.inference.passes import Images, Measure, in_order, sent_to
from pipeline.inference.test_modes import Logits
from pipeline.numerics import Size
from pipeline.numerics.confusion import confusion_counts, confusion_matrix, pixels_by_class
from pipeline.numerics.counting import class_pixels
from pipeline.numerics.entropy import entropy_map
from pipeline.numerics.selection import PredictionSums, as_sums, prediction_totals
from pipeline.numerics.winner import winner


class MapWriter(Protocol):
    """Takes uint8 label maps by image name; `close` makes them durable."""

    def add(self, name: str, array: np.ndarray) -> None:
        """Write one map (H, W)."""
        ...

    def close(self) -> None:
        """Finish the writer's files."""
        ...


def predicted(logits: Logits, scores: Callable[[Tensor], Tensor]) -> Tensor:
    """Best class of every pixel, uint8 (B, h, w), by scores made of each strip's logits."""
    return torch.cat([winner(scores(strip))[1] for _, strip in logits.strips()], dim=1)


@dataclass(frozen=True)
class Confusions:
    """Counted pixels of N images.

    `matrix`: over all images, int64 (K, K), rows = label, columns = prediction. `images`: int64 (N, 3, K), each
    image's pixels by class: those that are right, labelled, and predicted where there is a label.
    """

    matrix: Tensor
    images: Tensor


class ConfusionMeasure(Measure[Confusions]):
    """Confusion matrix over all images, and what each image's figures are made of.

    Logits are up-sampled to each label's own size before the argmax (ties go to the lowest class).
    """

    def __init__(self, labels: Images, num_classes: int) -> None:
        """`labels[position]` is the uint8 label map (h, w) of the pass's image at that position."""
        self.labels, self.num_classes = labels, num_classes
        self.positions: list[int] = []
        self.counts: list[Tensor] = []

    def load(self, position: int) -> np.ndarray:
        """Read the image's label map."""
        return self.labels[position]

    def size(self, label_size: Size, loaded: np.ndarray | None) -> Size:
        """Return the label map's own size."""
        assert loaded is not None
        return (loaded.shape[0], loaded.shape[1])

    def begin(self, chunk_start: int) -> None:
        """Start a chunk."""
        self.positions, self.counts = [], []

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Count the pixels of B images."""
        labels = torch.from_numpy(np.stack([label for label in loaded if label is not None]))
        found = predicted(logits, self.scores)
        pairs = zip(found, sent_to(labels, found.device), strict=True)
        self.counts.append(torch.stack([confusion_counts(*pair, self.num_classes) for pair in pairs]))
        self.positions.extend(positions)

    def scores(self, logits: Tensor) -> Tensor:
        """What the best class is chosen by: the logits (B, K, h, w) themselves."""
        return logits

    def end(self) -> dict[str, Tensor]:
        """Return the chunk's matrix and its images' pixels."""
        counts = torch.cat(self.counts)
        images = in_order([pixels_by_class(counts)], self.positions)
        return {"confusion": confusion_matrix(counts.sum(dim=0)), "images": images}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> Confusions:
        """Add the chunks' matrices, concatenate their images."""
        total = torch.zeros((self.num_classes, self.num_classes), dtype=torch.int64)
        images = [torch.zeros((0, 3, self.num_classes), dtype=torch.int64)]
        for chunk in chunks:
            total += chunk["confusion"]
            images.append(chunk["images"])
        return Confusions(total, torch.cat(images))


class MappedConfusionMeasure(ConfusionMeasure):
    """Confusion matrix over G groups of a model's classes, in the order of the groups.

    The logit of a group is the largest of its classes' logits, so the answer is the group of the most
    probable class among those that are in any group. With one class per group, in the model's order, this is
    `ConfusionMeasure` itself.
    """

    def __init__(self, labels: Images, groups: Sequence[Sequence[int]]) -> None:
        """`groups[g]`: ids of the model's classes that stand for label id g; none may be empty."""
        super().__init__(labels, len(groups))
        self.groups = [list(group) for group in groups]

    def scores(self, logits: Tensor) -> Tensor:
        """The largest logit of each group: (B, G, h, w)."""
        return torch.stack([logits[:, group].amax(dim=1) for group in self.groups], dim=1)


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
        self.positions: list[int] = []
        self.entropy: list[Tensor] = []
        self.pixels: list[Tensor] = []
        self.maps: list[Tensor] = []

    def begin(self, chunk_start: int) -> None:
        """Start a chunk and its writer."""
        self.positions, self.entropy, self.pixels, self.maps = [], [], [], []
        self.writer = self.open_maps(chunk_start) if self.open_maps else None

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Score B images; the mean of the float32 map is taken in float64."""
        entropies, labels = [], []
        for _, strip in logits.strips():
            entropies.append(entropy_map(strip).sum(dim=(1, 2), dtype=torch.float64))
            labels.append(winner(strip)[1])
        height, width = logits.size
        self.entropy.append(torch.stack(entropies).sum(dim=0) / (height * width))
        for label in torch.cat(labels, dim=1):
            self.pixels.append(class_pixels(label, self.num_classes))
            if self.writer is not None:
                self.maps.append(label)
        self.positions.extend(positions)

    def end(self) -> dict[str, Tensor]:
        """Write the chunk's maps and close the writer, then return the chunk's scores."""
        if self.writer is not None:
            for position, label in zip(self.positions, self.maps, strict=True):
                self.writer.add(self.names[position], label.cpu().numpy())
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
        self.totals: list[Tensor] = []
        self.sizes: list[int] = []

    def begin(self, chunk_start: int) -> None:
        """Start a chunk."""
        self.totals, self.sizes = [], []

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Sum over the pixels of B images."""
        totals = torch.stack([prediction_totals(strip) for _, strip in logits.strips()]).sum(dim=0)
        self.totals.append(totals)
        self.sizes.extend([logits.size[0] * logits.size[1]] * len(totals))

    def end(self) -> dict[str, Tensor]:
        """Return one row of integers per image, rounded on its own; a sum over images may pass 64 bits."""
        sums = as_sums(torch.cat(self.totals), self.sizes)
        rows = [[one.pixels, one.entropy, *one.probabilities] for one in sums]
        return {"sums": torch.tensor(rows, dtype=torch.int64)}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> PredictionSums:
        """Add all images in integers of any size."""
        rows = [row for chunk in chunks for row in chunk["sums"].tolist()]
        columns = [sum(column) for column in zip(*rows, strict=True)] or [0] * (self.num_classes + 2)
        return PredictionSums(columns[0], columns[1], tuple(columns[2:]))
