"""Makes `tiny_pictures` importable; placeholders of the driving datasets."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))

from driving_data import write_all
from paper_runs import CONFIG
from shipped import SUITES

from pipeline.config.load import load_config
from pipeline.plan.planner import Planner


@pytest.fixture(scope="session")
def driving_data(tmp_path_factory):
    """The folder that `SEGADAPT_DATA` should name."""
    return write_all(tmp_path_factory.mktemp("data"))


@pytest.fixture
def plan(driving_data, monkeypatch):
    """Plan experiments of the papers, by name or pattern, on the placeholder data."""
    monkeypatch.setenv("SEGADAPT_DATA", str(driving_data))

    def planned(*names, root=CONFIG):
        suites = [root / f"{suite}.yaml" for suite in SUITES if suite.startswith("paper-")]
        return Planner(load_config(suites, {"only": [f"paper-{name}" for name in names]}, root)).plan()

    return planned
