"""Pure functions from tensors to tensors; where correctness is proved."""

from typing import Literal

IGNORE = 255
"""The id of pixels that count nowhere: not in a loss, not in a score."""

Precision = Literal["tf32", "float32", "bfloat16"]
"""Arithmetic of a network's products (`precision.py`)."""

Size = tuple[int, int]
"""Height and width in pixels, as arrays and tensors have them."""

WidthHeight = tuple[int, int]
"""Width and height in pixels, as people, picture files and Pillow give them."""
