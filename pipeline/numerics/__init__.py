"""Pure functions from tensors to tensors; where correctness is proved."""

IGNORE = 255
"""The id of pixels that count nowhere: not in a loss, not in a score."""
