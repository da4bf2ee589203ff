"""Every shipped experiment on the real development sets is planned; needs SEGADAPT_DATA."""

import os
from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.plan.planner import Planner

CONFIG = Path("config")


@pytest.mark.data
@pytest.mark.skipif("SEGADAPT_DATA" not in os.environ, reason="SEGADAPT_DATA is not set")
@pytest.mark.parametrize("suite", ["digits", "idda-camvid", "polyps"])
def test_every_experiment_is_planned_for_each_of_its_seeds(suite):
    config = load_config([CONFIG / f"{suite}.yaml"], root=CONFIG)
    planned = {(run.experiment, run.seed) for run in Planner(config).plan()}
    wanted = {(name, seed) for name, one in config.experiments.items() for seed in one.seeds}
    assert planned == wanted and len(wanted) > 1
