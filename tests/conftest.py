"""Settings for every test."""

import os

# Before torch is imported anywhere: threads that spin while they wait starve whatever runs beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
