"""Tiny picture files for tests, in the exact formats of the datasets."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import Taxonomy

AB = Taxonomy.model_validate(
    {"name": "ab", "classes": [{"name": "a", "color": [255, 0, 0]}, {"name": "b", "color": [0, 255, 0]}]}
)


def write_image(path: Path, size: tuple[int, int] = (8, 6), seed: int = 0, **options: Any) -> np.ndarray:
    """A random RGB picture of (width, height); the suffix decides the format."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def write_ids(path: Path, ids: np.ndarray, palette: bool = False) -> None:
    """8-bit ids, grey or with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids.astype(np.uint8))
    if palette:
        picture.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    picture.save(path)


def write_png(
    path: Path, samples: np.ndarray, depth: int, color_type: int, data: bytes | None = None
) -> None:
    """A PNG of any bit depth; rows of `samples` (H, W, C) are not filtered unless given as `data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = samples.shape[:2]
    if depth == 16:
        rows = [samples[row].astype(">u2").tobytes() for row in range(height)]
    else:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(height, -1, 1), axis=2)[..., 8 - depth :]
        rows = [np.packbits(bits[row].ravel()).tobytes() for row in range(height)]
    data = zlib.compress(data or b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    if color_type == 3:
        chunks.insert(1, (b"PLTE", bytes(range(3 * 2**depth))))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def ab_dataset(root: Path, count: int = 5, size: tuple[int, int] = (8, 6)) -> DatasetSpec:
    """A whole dataset of `count` images with labels of ids 0 (a), 1 (b) and 9 (ignore)."""
    for number in range(count):
        write_image(root / f"images/{number:03d}.png", size, seed=number)
        ids = np.random.default_rng(number).choice([0, 1, 9], (size[1], size[0]))
        write_ids(root / f"labels/{number:03d}.png", ids)
    return ab_spec(root)


def ab_spec(root: Path, **more: Any) -> DatasetSpec:
    """The dataset file of `ab_dataset`, with further keys."""
    train = {"images": "images/*.png", "labels": "labels/*.png"}
    ids = {} if "colors" in more else {"ids": {"a": 0, "b": 1, "ignore": 9}}
    return DatasetSpec.model_validate(
        {"file": "ab.yaml", "root": str(root), "splits": {"train": train}, **ids, **more}
    )
