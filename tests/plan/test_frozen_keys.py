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


def test_the_file_names_keys_that_were_computed_before():
    # What `make demo` and the streets left behind ever since their stages had these versions.
    assert STORED["demo"] == "advent-streets-s0-30d0676434e2"
