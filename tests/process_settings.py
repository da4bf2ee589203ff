"""Stages and commands own their process; a test process takes back what they set. Import the fixture to use it."""

import logging

import pytest
import torch


@pytest.fixture(autouse=True)
def process_settings():
    """Restore the logger, the threads and the determinism that a stage or a command sets."""
    logger = logging.getLogger("pipeline")
    before = (logger.level, logger.propagate, list(logger.handlers))
    threads, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    for handler in logger.handlers:
        if handler not in before[2]:
            handler.close()
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], list(before[2])
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(exact)
