"""What may not change a result: loader workers, parts, how often the state is saved, a second run."""

import pytest
from tiny import EXPERIMENT, digests, run_all


@pytest.mark.parametrize("run", [{"workers": 2, "parts": 3}, {"workers": 1, "parts": 1, "state_steps": 1}])
def test_workers_parts_and_saving_change_no_digest(tmp_path, monkeypatch, reference, run):
    assert run_all(tmp_path, monkeypatch, **run) == digests(reference)


def test_another_seed_changes_what_draws_numbers(tmp_path, monkeypatch, reference):
    # The negative control: the comparison above can fail.
    monkeypatch.setitem(EXPERIMENT, "seeds", [1])
    before, other = digests(reference), run_all(tmp_path, monkeypatch)
    trained = {digest for key, digest in before.items() if key.startswith(("supervised", "advent"))}
    assert not trained & set(other.values())
    assert {key for key in other if key in before} == {key for key in before if key.startswith("prepare")}
