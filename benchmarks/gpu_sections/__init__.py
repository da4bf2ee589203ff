"""The sections of `benchmarks/gpu.py`, each a function `(record, scale)`."""
