"""Six kills, chained; `make test-faults` makes a hundred."""

import os
from pathlib import Path

import pytest
from chain import TARGETS, Chain
from world import digests

KILLS = 6

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes through /proc")


def test_six_kills_leave_the_results_of_an_uninterrupted_run(finished_world, tmp_path):
    seed = int(os.environ.get("SEGADAPT_KILL_SEED", "6"))
    chain = Chain(tmp_path, seed, digests(finished_world.results), print)
    try:
        chain.kill_often(KILLS)
        chain.finish()
    finally:
        chain.close()
    print(chain.summary())
    assert len(chain.kills) == KILLS
    assert {kill.target for kill in chain.kills} == set(TARGETS)
    assert len({kill.kind for kill in chain.kills}) >= 2
