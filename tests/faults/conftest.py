"""One uninterrupted run of the tiny world, which every test copies and compares with."""

import pytest
from process_settings import process_settings  # noqa: F401 - a fixture
from world import World


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
