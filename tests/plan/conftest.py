"""What planning tests start from."""

import pytest
from shop import Shop


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)
