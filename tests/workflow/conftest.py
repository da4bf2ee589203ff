"""One undisturbed run of the tiny experiment, stage by stage in this process."""

import pytest
from tiny import run_all


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The folder of the run."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        run_all(folder, patch)
    return folder
