"""Pure functions from tensors to tensors; where correctness is proved."""

from typing import Literal

IGNORE = 255
"""The id of pixels that count nowhere: not in a loss, not in a score."""

Precision = Literal["tf32", "float32", "bfloat16"]
"""Arithmetic of a network's products (`precision.py`)."""
