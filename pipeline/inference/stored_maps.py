"""Keeping what a network said on its own grids, and making per-pixel scores of it again and again.

    stored = run_pass(KeepMaps(folder), network, MapsOnly(mode), images, settings)
    scores = Scores(stored, network, mode)
    scores[3]                                    # float32 (K, H, W), the same bits at every call

Self-training reads every score three times. Full-resolution maps would be 159 MB per image of 19 classes and
2048x1024 pixels; the float16 logits of the 1/8 grid are 1 MB, and up-sampling them again is quicker than
reading the former back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.files import make_folder, replacing
from pipeline.data.packed_maps import pack_maps, unpack_maps
from pipeline.inference.passes import Measure
from pipeline.inference.test_modes import Mode, Size
from pipeline.networks.base import SegmentationNetwork


@dataclass(frozen=True)
class MapsOnly:
    """A test mode's maps without its merging: what a pass hands on are packed maps, uint8 (B, n)."""

    inner: Mode

    @property
    def name(self) -> str:
        """The test mode's name."""
        return self.inner.name

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Run the network as the test mode does."""
        return self.inner.maps(network, images)

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> Tensor:
        """Pack the maps of each image; images of one batch have maps of the same shapes."""
        arrays = [one.cpu().numpy() for one in maps]
        rows = [pack_maps([one[row] for one in arrays], image_size) for row in range(len(arrays[0]))]
        return torch.from_numpy(np.stack(rows))


@dataclass(frozen=True)
class StoredMaps:
    """The packed maps of N images in a few files: which file, first byte, bytes of each."""

    places: tuple[tuple[Path, int, int], ...]

    def __len__(self) -> int:
        return len(self.places)

    def packed(self, position: int) -> NDArray[np.uint8]:
        """The packed maps of one image, uint8 (n,)."""
        path, offset, length = self.places[position]
        return np.fromfile(path, np.uint8, length, offset=offset)


class KeepMaps(Measure[StoredMaps]):
    """The measure of a pass in mode `MapsOnly`: writes each chunk's packed maps to a file as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start = 0
        self.ends: list[int] = []
        self._stack = ExitStack()
        self._file: BinaryIO | None = None

    def begin(self, chunk_start: int) -> None:
        """Open the chunk's file; what an unfinished chunk that began there left is replaced."""
        make_folder(self.folder)
        # Not closed: closing would give an abandoned chunk's file its final name.
        self._stack = ExitStack()
        self.start, self.ends = chunk_start, []
        temporary = self._stack.enter_context(replacing(self._path(chunk_start)))
        self._file = self._stack.enter_context(temporary.open("wb"))

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Tensor) -> None:
        """Append the packed maps of B images."""
        assert self._file is not None
        for row in logits.numpy():
            self._file.write(row.data)
            self.ends.append(self._file.tell())

    def end(self) -> dict[str, Tensor]:
        """Close the file; the pass then counts the chunk as finished."""
        self._stack.close()
        return {
            "start": torch.tensor([self.start], dtype=torch.int64),
            "ends": torch.tensor(self.ends, dtype=torch.int64),
        }

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> StoredMaps:
        """List where the maps of every image lie."""
        places: list[tuple[Path, int, int]] = []
        for chunk in chunks:
            path, ends = self._path(int(chunk["start"])), chunk["ends"].tolist()
            starts = [0, *ends[:-1]]
            places.extend((path, start, end - start) for start, end in zip(starts, ends, strict=True))
        return StoredMaps(tuple(places))

    def _path(self, start: int) -> Path:
        return self.folder / f"maps-{start:08d}.bin"


class Scores:
    """Per-pixel scores of stored maps: softmax of the up-sampled logits, times a prior where one is given.

    Every call for an image repeats the same arithmetic on one image alone, so that all passes over the scores
    see the same bits, whatever the batch of the forward pass.
    """

    def __init__(
        self,
        stored: StoredMaps,
        network: SegmentationNetwork,
        mode: Mode,
        prior_at: Callable[[Size], Tensor] | None = None,
    ) -> None:
        """`prior_at(size)` gives the prior at a size, float32 (K, H, W) on any device."""
        self.stored, self.network, self.mode, self.prior_at = stored, network, mode, prior_at
        self.device = next(network.parameters()).device
        self._prior: tuple[Size, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, position: int) -> Tensor:
        """Scores of one image, float32 (K, H, W) on the network's device."""
        image_size, halves = unpack_maps(self.stored.packed(position))
        size = self.network.label_size(image_size)
        with torch.no_grad():
            maps = [torch.from_numpy(one).to(self.device).float()[None] for one in halves]
            scores = torch.softmax(self.mode.merge(self.network, maps, image_size, size)[0], dim=0)
            if self.prior_at is not None:
                scores *= self._prior_of(self.prior_at, size)
        return scores

    def _prior_of(self, prior_at: Callable[[Size], Tensor], size: Size) -> Tensor:
        """The prior at a size; images mostly have one size, so the last is kept."""
        if self._prior is None or self._prior[0] != size:
            self._prior = (size, prior_at(size).to(self.device))
        return self._prior[1]
