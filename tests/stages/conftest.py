"""One finished run of the whole chain, which tests add stages to or copy."""

import logging

import pytest
import torch
from chain_world import Chain


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
    logger.propagate, logger.handlers = before[1], list(before[2])
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(exact)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """The chain with `intrada` finished. Tests may add stages of other parameters, and harm nothing."""
    chain = Chain.make(tmp_path_factory.mktemp("chain"))
    run = chain.plan()
    chain.finish(*run.all_stages())
    return chain


@pytest.fixture
def chain(shared, tmp_path):
    """A copy to do harm to."""
    return shared.copy(tmp_path / "chain")
