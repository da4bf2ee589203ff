"""Makes `tiny_pictures` importable; placeholders of the driving datasets."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))

from driving_data import write_all


@pytest.fixture(scope="session")
def driving_data(tmp_path_factory):
    """The folder that `SEGADAPT_DATA` should name."""
    return write_all(tmp_path_factory.mktemp("data"))
