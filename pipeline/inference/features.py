"""One vector per image: the mean of the feature map that the main head reads, for comparing whole images.

vectors = run_pass(VectorMeasure(), network, PooledFeatures(), images, settings)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.inference.passes import Measure
from pipeline.inference.test_modes import Logits, RowsOf
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.normalise import normalise
from pipeline.numerics import Size
from pipeline.numerics.entropy import entropy_map


@dataclass(frozen=True)
class PooledFeatures:
    """A pass mode whose maps are the features' means, float32 (B, C, 1, 1), in place of logits."""

    name: str = "pooled_features"

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Average the feature map of uint8 images (B, 3, H, W) over its grid."""
        feature = network(normalise(images, network.profile)).feature
        return [feature.float().mean(dim=(2, 3), keepdim=True)]

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> RowsOf:
        """Hand out the one map; there is nothing to resize."""
        return lambda rows: maps[0][:, :, rows].clone()


class VectorMeasure(Measure[np.ndarray]):
    """Keeps each image's vector: float32 (N, C) in the order of the pass, each row of Euclidean length 1.

    A row of zeros stays one.
    """

    def __init__(self) -> None:
        self.vectors: list[Tensor] = []

    def begin(self, chunk_start: int) -> None:
        """Start a chunk."""
        self.vectors = []

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Take the means (B, C, 1, 1) of B images."""
        self.vectors.append(functional.normalize(logits.whole().flatten(1), dim=1))

    def end(self) -> dict[str, Tensor]:
        """Return the chunk's vectors."""
        return {"vectors": torch.cat(self.vectors).cpu()}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> np.ndarray:
        """Stack the chunks' vectors."""
        stacked = [chunk["vectors"] for chunk in chunks]
        return torch.cat(stacked).numpy() if stacked else np.zeros((0, 0), dtype=np.float32)


class EntropyMaps(Measure[list[np.ndarray]]):
    """Keeps each image's map of normalised entropy as uint8 (H, W): 0 certain, 255 all classes alike."""

    def __init__(self) -> None:
        self.maps: dict[str, Tensor] = {}

    def begin(self, chunk_start: int) -> None:
        """Start a chunk."""
        self.maps = {}

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Take the logits of B images."""
        strips = [
            (entropy_map(strip) * 255).round().clamp(0, 255).to(torch.uint8) for _, strip in logits.strips()
        ]
        maps = torch.cat(strips, dim=1)
        self.maps.update({f"{position:08d}": one for position, one in zip(positions, maps, strict=True)})

    def end(self) -> dict[str, Tensor]:
        """Return the chunk's maps by position."""
        return {name: one.cpu() for name, one in self.maps.items()}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> list[np.ndarray]:
        """List the maps in the order of the images."""
        return [chunk[name].numpy() for chunk in chunks for name in sorted(chunk)]
