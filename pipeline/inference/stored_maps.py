"""Keeping what a network said on its own grids, and making per-pixel scores of it again and again.

    stored = run_pass(KeepMaps(folder), network, mode, images, settings)
    scores = Scores(stored, network, mode)
    for rows, strip in scores.strips(3): ...     # float32 (K, rows, W), the same bits at every call

Self-training reads every score three times. Full-resolution maps would be 159 MB per image of 19 classes and
2048x1024 pixels; the float16 logits of the 1/8 grid are 1 MB, and up-sampling them again is quicker than
reading the former back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.files import make_folder, replacing
from pipeline.data.packed_maps import HALF_MAX, pack_maps, unpack_maps
from pipeline.inference.passes import Measure
from pipeline.inference.test_modes import Logits, Mode
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics import Size
from pipeline.numerics.winner import winner


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
    """Keeps what the network said on its own grids; writes each chunk's packed maps to a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start = 0
        self.maps: list[tuple[Size, Sequence[Tensor]]] = []
        self._stack = ExitStack()
        self._file: BinaryIO | None = None

    def begin(self, chunk_start: int) -> None:
        """Open the chunk's file; what an unfinished chunk that began there left is replaced."""
        make_folder(self.folder)
        # Not closed: closing would give an abandoned chunk's file its final name.
        self._stack = ExitStack()
        self.start, self.maps = chunk_start, []
        temporary = self._stack.enter_context(replacing(self._path(chunk_start)))
        self._file = self._stack.enter_context(temporary.open("wb"))

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Keep the maps of B images, as small as they will be stored."""
        self.maps.append((logits.image_size, [one.clamp(-HALF_MAX, HALF_MAX).half() for one in logits.maps]))

    def end(self) -> dict[str, Tensor]:
        """Write and close the file; the pass then counts the chunk as finished."""
        assert self._file is not None
        ends = []
        for image_size, maps in self.maps:
            arrays = [one.cpu().numpy() for one in maps]
            for row in range(len(arrays[0])):
                self._file.write(pack_maps([one[row] for one in arrays], image_size).data)
                ends.append(self._file.tell())
        self._stack.close()
        return {
            "start": torch.tensor([self.start], dtype=torch.int64),
            "ends": torch.tensor(ends, dtype=torch.int64),
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
        self.device = network.device
        self._prior: tuple[Size, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.stored)

    def strips(self, position: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows of one image with their scores, float32 (K, rows, W) on the network's device."""
        image_size, halves = unpack_maps(self.stored.packed(position))
        size = self.network.label_size(image_size)
        with torch.no_grad():
            maps = [torch.from_numpy(one).to(self.device).float()[None] for one in halves]
            prior = None if self.prior_at is None else self._prior_of(self.prior_at, size)
            for rows, strip in Logits(self.mode, self.network, maps, image_size, size).strips():
                scores = torch.softmax(strip[0], dim=0)
                yield rows, scores if prior is None else scores.mul_(prior[:, rows])

    def winners(self, position: int) -> tuple[Tensor, Tensor]:
        """Best score and class of every pixel of one image: float32 and uint8 (H, W)."""
        pieces = [winner(scores) for _, scores in self.strips(position)]
        best, label = (torch.cat(column) for column in zip(*pieces, strict=True))
        return best, label

    def _prior_of(self, prior_at: Callable[[Size], Tensor], size: Size) -> Tensor:
        """The prior at a size; images mostly have one size, so the last is kept."""
        if self._prior is None or self._prior[0] != size:
            self._prior = (size, prior_at(size).to(self.device))
        return self._prior[1]
