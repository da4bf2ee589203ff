"""Reading the first channel of 16-bit PNGs, which Pillow cuts to 8 bits without a word.

PNG's row filters relate a byte to the bytes one pixel to the left and one row above, never to another byte
of the same pixel (PNG specification, section 9). The n-th bytes of all pixels are therefore a filtered 8-bit
grey picture of their own, with the same filter of each row, and Pillow's decoder restores it at full speed.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.errors import DataError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BYTES_PER_PIXEL = {0: 2, 2: 6, 4: 4, 6: 8}
"""By colour type: grey, RGB, grey with alpha, RGB with alpha."""


def read_first_channel(path: Path) -> NDArray[np.uint16]:
    """The first channel of a 16-bit PNG, uint16 (H, W).

    DataError when it is damaged, truncated or interlaced.
    """
    try:
        chunks = _chunks(path.read_bytes())
        width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        if depth != 16 or color not in _BYTES_PER_PIXEL:
            raise ValueError(f"{depth}-bit samples of colour type {color}, not 16-bit")
        if interlaced:
            raise ValueError("interlaced 16-bit files are not supported; save it again without interlacing")
        rows = _rows(chunks[b"IDAT"], height, width * _BYTES_PER_PIXEL[color])
        high, low = (_lane(rows, byte, _BYTES_PER_PIXEL[color]) for byte in (0, 1))
    except (OSError, ValueError, KeyError, SyntaxError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: damaged or unusable 16-bit PNG: {error}") from error
    return high * np.uint16(256) + low


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Header and joined image data; ValueError when a checksum is wrong or the end is missing."""
    found = {b"IDAT": b""}
    parts: list[bytes] = []
    place = len(PNG_SIGNATURE)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        if len(body) < length or zlib.crc32(kind + body) != int.from_bytes(
            data[place + 8 + length :][:4], "big"
        ):
            raise ValueError(f"the chunk at byte {place} is cut off or altered")
        if kind == b"IEND":
            return {**found, b"IDAT": b"".join(parts)}
        if kind == b"IDAT":
            parts.append(body)
        else:
            found[kind] = body
        place += 12 + length
    raise ValueError("its end is missing")


def _rows(compressed: bytes, height: int, row_bytes: int) -> NDArray[np.uint8]:
    """The filtered rows, uint8 (H, 1 + row_bytes), the filter's number first; never inflates beyond that."""
    expected = height * (1 + row_bytes)
    data = zlib.decompressobj().decompress(compressed, expected)
    if len(data) < expected:
        raise ValueError(f"{len(data)} of {expected} bytes of pixels")
    return np.frombuffer(data, dtype=np.uint8).reshape(height, 1 + row_bytes)


def _lane(rows: NDArray[np.uint8], byte: int, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """Restore one byte of every pixel, uint8 (H, W), as an 8-bit grey PNG with the same filters."""
    lane = np.concatenate([rows[:, :1], rows[:, 1 + byte :: bytes_per_pixel]], axis=1)
    header = struct.pack(">IIBBBBB", lane.shape[1] - 1, lane.shape[0], 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lane.tobytes(), 0)), (b"IEND", b""))
    png = PNG_SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)
    with Image.open(io.BytesIO(png)) as picture:
        return np.array(picture)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
