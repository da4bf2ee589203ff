"""Finished chunks of a pass on disk: what lets a killed pass go on without computing an image twice.

A chunk covers the images `start` to `stop` (excluded). Its tensors lie in `chunk-<start>-<stop>.safetensors`;
the JSON beside it, written last, holds the fingerprint of the pass and the checksum of the tensors. A chunk
without a valid JSON does not exist.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from pipeline.artifacts.errors import ArtifactError, StateError
from pipeline.artifacts.files import read_json, sha256_file, write_bytes, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Chunk:
    """The images `start` to `stop` (excluded) of a pass."""

    start: int
    stop: int

    @property
    def stem(self) -> str:
        """File name of the chunk, without suffix."""
        return f"chunk-{self.start:08d}-{self.stop:08d}"


def cut(gap: Chunk, length: int) -> list[Chunk]:
    """Cut a range of images into chunks of `length` images, the last one shorter."""
    return [Chunk(start, min(start + length, gap.stop)) for start in range(gap.start, gap.stop, length)]


def gaps(finished: list[Chunk], total: int) -> list[Chunk]:
    """Return the ranges of 0..total that no finished chunk covers, ascending."""
    edges = [Chunk(0, 0), *sorted(finished), Chunk(total, total)]
    return [Chunk(before.stop, after.start) for before, after in pairwise(edges) if before.stop < after.start]


class ChunkStore:
    """The finished chunks of one pass in a folder of its own."""

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """Use `folder` (made on the first save); `fingerprint` is what makes two passes the same, as JSON."""
        self.folder = folder
        self.fingerprint = dict(fingerprint)

    def save(self, chunk: Chunk, tensors: Mapping[str, Tensor]) -> None:
        """Write a chunk's tensors, then the JSON that makes it count; each file atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{chunk.stem}.safetensors"
        write_bytes(path, safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}))
        header = {
            "start": chunk.start,
            "stop": chunk.stop,
            "fingerprint": self.fingerprint,
            "sha256": sha256_file(path),
        }
        write_json(self.folder / f"{chunk.stem}.json", header)

    def load(self, chunk: Chunk) -> dict[str, Tensor]:
        """Read a finished chunk's tensors."""
        return safetensors.torch.load_file(self.folder / f"{chunk.stem}.safetensors")

    def finished(self) -> list[Chunk]:
        """Return the valid chunks, ascending and disjoint.

        A damaged chunk is left out with a warning and will be computed again. StateError: a chunk belongs to
        another pass (other network, data, test mode or batch).
        """
        valid: list[Chunk] = []
        for path in sorted(self.folder.glob("chunk-*.json")):
            chunk = self._checked(path)
            if chunk is not None and (not valid or valid[-1].stop <= chunk.start):
                valid.append(chunk)
        return valid

    def _checked(self, path: Path) -> Chunk | None:
        tensors = path.with_suffix(".safetensors")
        try:
            header = read_json(path)
            chunk = Chunk(header["start"], header["stop"])
            fingerprint, expected = header["fingerprint"], header["sha256"]
        except (ArtifactError, KeyError, TypeError) as error:
            logger.warning("%s is damaged and will be computed again: %s", path, error)
            return None
        if fingerprint != self.fingerprint:
            raise StateError(_difference(path, fingerprint, self.fingerprint))
        if not tensors.is_file() or sha256_file(tensors) != expected:
            logger.warning("%s is damaged and will be computed again: checksum differs", tensors)
            return None
        return chunk


def _difference(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    keys = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    listed = "; ".join(f"{key}: found {found.get(key)!r}, need {wanted.get(key)!r}" for key in keys)
    return (
        f"{path} belongs to another pass ({listed}). "
        f"Remove {path.parent} to compute this pass from the start, or run it as it was begun."
    )
