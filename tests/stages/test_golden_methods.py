"""Every term of the methods after four steps on tiny data, tied to the version of kind `train`.

When a number moves on purpose, raise the version of `train` in `pipeline/stages/kinds.py`, and write the numbers
anew with `SEGADAPT_GOLDEN=write python -m pytest tests/stages/test_golden_methods.py`.
"""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from pipeline.stages.kinds import KINDS
from pipeline.training import optimisers

GOLDEN = Path(__file__).with_name("golden_methods.json")
QUICK = {"adversarial_weight": 0.1}
QUICK_LR = 0.0005
"""Of the discriminators, so that a few of their steps tell their inputs apart."""

METHODS = {
    "supervised": ("source-only", {}),
    "minent": ("minent", {"inter": {"objective": {"entropy_weight": 0.1}}}),
    "advent": ("advent", {"inter": {"objective": QUICK}}),
    "adaptseg": ("adaptseg", {"inter": {"objective": QUICK}}),
    "adaptseg-ls": ("adaptseg", {"inter": {"objective": {**QUICK, "gan": "ls"}}}),
    "self_training": ("cbst", {}),
    "mean_teacher": ("mic", {"inter": {"objective": {"quality": "soft", "mask_block": 8}}}),
}
ROUNDING = {"rel": 2e-3, "abs": 1e-5}
"""Other processors round differently, and training magnifies it a little."""


def last_terms(chain, method):
    """The last row of the table of terms."""
    recipe, values = METHODS[method]
    run = chain.plan(recipe, values, **({"rounds": 1} if recipe == "cbst" else {}))
    stage = run.stages[run.final]
    chain.finish(stage)
    row = pd.read_csv(chain.artifact(stage).path / "metrics.csv").iloc[-1]
    return {name: round(float(value), 6) for name, value in row.items()}


def stored():
    return json.loads(GOLDEN.read_text("utf-8")) if GOLDEN.is_file() else {}


@pytest.mark.parametrize("method", METHODS)
def test_terms_are_those_of_the_version(shared, method, monkeypatch):
    monkeypatch.setattr(optimisers, "AUXILIARY_LR", QUICK_LR)
    found = last_terms(shared, method)
    if os.environ.get("SEGADAPT_GOLDEN") == "write":
        numbers = stored().get("numbers", {}) | {method: found}
        content = {"version": KINDS["train"].version, "numbers": numbers}
        GOLDEN.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert stored()["version"] == KINDS["train"].version, "a new version: write its numbers (see the module)"
    wanted = stored()["numbers"][method]
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, **ROUNDING)


def test_the_methods_differ_by_more_than_the_tolerance():
    """The control: had one method the other's numbers, the test above would see it."""
    numbers = stored()["numbers"]
    vanilla, least_squares = numbers["adaptseg"], numbers["adaptseg-ls"]
    assert vanilla != pytest.approx(least_squares, **ROUNDING)
    assert numbers["advent"] != pytest.approx(vanilla, **ROUNDING)
