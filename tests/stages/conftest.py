"""One finished run of the whole chain, which tests add stages to or copy."""

import pytest
from chain_world import Chain
from process_settings import process_settings  # noqa: F401 - a fixture


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
