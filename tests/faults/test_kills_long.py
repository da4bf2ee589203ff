"""A hundred kills, chained over runs of the demo's recipe (`make test-faults`, under 40 minutes)."""

import os
import time
from pathlib import Path

import pytest
from chain import TARGETS, Chain
from world import REPOSITORY

KILLS = int(os.environ.get("SEGADAPT_KILLS", "100"))
LOG = Path(os.environ.get("SEGADAPT_KILL_LOG", REPOSITORY / "benchmarks" / "out" / "faults.log"))


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_a_hundred_kills_leave_the_results_of_an_uninterrupted_run(tmp_path):
    seed = int(os.environ.get("SEGADAPT_KILL_SEED", "100"))
    LOG.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with LOG.open("w", encoding="utf-8") as file:

        def say(line):
            print(line, flush=True)
            print(line, file=file, flush=True)

        say(f"seed {seed}")
        chain = Chain(tmp_path, seed, {}, say, ("config/chain.yaml", "config/longer.yaml"))
        try:
            chain.reference = chain.uninterrupted()
            chain.kill_often(KILLS)
            chain.finish()
        finally:
            chain.close()
        say(f"{chain.summary()}; {(time.monotonic() - began) / 60:.0f} minutes")
    assert len(chain.kills) == KILLS
    assert {kill.target for kill in chain.kills} == set(TARGETS)
    kinds = {kill.kind for kill in chain.kills}
    assert {"prepare", "pretrain", "adapt", "rank", "select", "evaluate"} <= kinds
