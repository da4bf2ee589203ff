"""Finished parts of a pass on disk: what lets a killed pass go on without computing an image twice.

A part covers the images `start` to `stop` (excluded). Its tensors lie in `part-<start>-<stop>.safetensors`;
the JSON beside it, written last, holds the fingerprint of the pass and the checksum of the tensors. A part
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
class Part:
    """The images `start` to `stop` (excluded) of a pass."""

    start: int
    stop: int

    @property
    def stem(self) -> str:
        """File name of the part, without suffix."""
        return f"part-{self.start:08d}-{self.stop:08d}"


def cut(gap: Part, length: int) -> list[Part]:
    """Cut a range of images into parts of `length` images, the last one shorter."""
    return [Part(start, min(start + length, gap.stop)) for start in range(gap.start, gap.stop, length)]


def gaps(finished: list[Part], total: int) -> list[Part]:
    """Return the ranges of 0..total that no finished part covers, ascending."""
    edges = [Part(0, 0), *sorted(finished), Part(total, total)]
    return [Part(before.stop, after.start) for before, after in pairwise(edges) if before.stop < after.start]


class PartStore:
    """The finished parts of one pass in a folder of its own."""

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """Use `folder` (made on the first save); `fingerprint` is what makes two passes the same, as JSON."""
        self.folder = folder
        self.fingerprint = dict(fingerprint)

    def save(self, part: Part, tensors: Mapping[str, Tensor]) -> None:
        """Write a part's tensors, then the JSON that makes it count; each file atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{part.stem}.safetensors"
        write_bytes(path, safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}))
        header = {
            "start": part.start,
            "stop": part.stop,
            "fingerprint": self.fingerprint,
            "sha256": sha256_file(path),
        }
        write_json(self.folder / f"{part.stem}.json", header)

    def load(self, part: Part) -> dict[str, Tensor]:
        """Read a finished part's tensors."""
        return safetensors.torch.load_file(self.folder / f"{part.stem}.safetensors")

    def finished(self) -> list[Part]:
        """Return the valid parts, ascending and disjoint.

        A damaged part is left out with a warning and will be computed again. StateError: a part belongs to
        another pass (other network, data, test mode or batch).
        """
        valid: list[Part] = []
        for path in sorted(self.folder.glob("part-*.json")):
            part = self._checked(path)
            if part is not None and (not valid or valid[-1].stop <= part.start):
                valid.append(part)
        return valid

    def _checked(self, path: Path) -> Part | None:
        tensors = path.with_suffix(".safetensors")
        try:
            header = read_json(path)
            part = Part(header["start"], header["stop"])
            fingerprint, expected = header["fingerprint"], header["sha256"]
        except (ArtifactError, KeyError, TypeError) as error:
            logger.warning("%s is damaged and will be computed again: %s", path, error)
            return None
        if fingerprint != self.fingerprint:
            raise StateError(_difference(path, fingerprint, self.fingerprint))
        if not tensors.is_file() or sha256_file(tensors) != expected:
            logger.warning("%s is damaged and will be computed again: checksum differs", tensors)
            return None
        return part


def _difference(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    keys = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    listed = "; ".join(f"{key}: found {found.get(key)!r}, need {wanted.get(key)!r}" for key in keys)
    return (
        f"{path} belongs to another pass ({listed}). "
        f"Remove {path.parent} to compute this pass from the start, or run it as it was begun."
    )
