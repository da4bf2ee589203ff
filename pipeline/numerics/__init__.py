"""Pure functions from tensors to tensors; where correctness is proved."""
