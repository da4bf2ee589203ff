"""One uninterrupted run of the tiny world, which every test copies and compares with."""

import logging

import pytest
import torch
from world import World


@pytest.fixture(autouse=True)
def process_settings():
    """Stages own their process; a test process takes back what they set."""
    logger = logging.getLogger("pipeline")
    before = (logger.level, logger.propagate, list(logger.handlers))
    threads, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    for handler in logger.handlers:
        if handler not in before[2]:
            handler.close()
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(exact)


@pytest.fixture(scope="session")
def finished_world(tmp_path_factory):
    """The whole chain, run once without a fault; never changed."""
    world = World.make(tmp_path_factory.mktemp("finished"))
    world.run_all()
    return world


@pytest.fixture
def world(finished_world, tmp_path):
    """A copy to do harm to."""
    return finished_world.copy(tmp_path / "world")
