"""The shipped experiments keep their keys, so that what was computed before is found again.

When a test here fails and the change is meant, write the file anew with `python tests/plan/frozen_keys.py` and say
in the commit which results are computed again.
"""

import json

from frozen_keys import FILE, frozen

STORED = json.loads(FILE.read_text(encoding="utf-8"))


def test_every_shipped_experiment_keeps_its_keys():
    found = frozen()
    assert {name: key for name, key in found.items() if STORED.get(name) != key} == {}
    assert found.keys() == STORED.keys()
