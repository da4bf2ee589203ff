"""A default is not hashed, so a changed default must raise its kind's version: old artifacts would be taken for new.

When a test here fails: decide whether the change alters what finished stages hold, raise `version` of the kind
in `pipeline/stages/kinds.py` if it does, and write the file anew with `python tests/plan/frozen.py`.
"""

import copy
import json
from typing import Any, get_args

import pytest
from frozen import FILE, frozen

from pipeline.schema.old_keys import DROPPED, Dropped, with_present_keys
from pipeline.schema.strict import Strict


def every(model: type[Strict]) -> list[type[Strict]]:
    return [model, *(below for one in model.__subclasses__() for below in every(one))]


BASES = {model.__name__: [base.__name__ for base in model.__mro__] for model in every(Strict)}
MODELS = [model for model in every(Strict) if "kind" in model.model_fields]
WRITE = "then run `python tests/plan/frozen.py` and commit frozen_defaults.json"


def is_passed_over(name: str, was: Any, now: Any) -> bool:
    """Whether a default went with a key that is passed over at that very value: then nothing else is computed."""
    owner, _, key = name.rpartition(".")
    values = [drops[key].value for base in BASES.get(owner, ()) if key in (drops := DROPPED.get(base, {}))]
    # A class that went with the only key that led to it.
    inside = [drop.value for drops in DROPPED.values() for drop in drops.values()]
    values += [
        value[key] for value in inside if owner not in BASES and isinstance(value, dict) and key in value
    ]
    if isinstance(was, dict) and isinstance(now, dict):
        kinds = [
            model for model in MODELS if was.get("kind") in get_args(model.model_fields["kind"].annotation)
        ]
        values += [was for model in kinds if with_present_keys(BASES[model.__name__], was) == now]
    return was in json.loads(json.dumps(values))


def complaints(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs, and what to do about it: one line per key."""
    lines = []
    for kind in sorted(old.keys() | new.keys()):
        if kind not in old or kind not in new:
            lines.append(f"kind {kind} was {'added' if kind in new else 'removed'}: {WRITE}")
            continue
        before, after = old[kind], new[kind]
        raised = after["version"] > before["version"]
        for key in sorted(before["defaults"].keys() | after["defaults"].keys()):
            was, now = before["defaults"].get(key, "<absent>"), after["defaults"].get(key, "<absent>")
            if was == now or is_passed_over(key, was, now):
                continue
            advice = (
                WRITE
                if raised or was == "<absent>"
                else f"raise `version` of kind {kind} in pipeline/stages/kinds.py to {before['version'] + 1}, {WRITE}"
            )
            lines.append(f"{kind}: default of {key} was {was!r} and is {now!r}: {advice}")
        if before["seeded"] != after["seeded"]:
            lines.append(f"{kind}: seeded was {before['seeded']}: every key changes; {WRITE}")
        if after["version"] < before["version"]:
            lines.append(f"{kind}: version went from {before['version']} back to {after['version']}")
        elif raised and not any(line.startswith(f"{kind}:") for line in lines):
            lines.append(f"{kind}: version was raised to {after['version']}: {WRITE}")
    return lines


def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def test_no_default_changed_without_its_kinds_version():
    found = complaints(stored(), json.loads(json.dumps(frozen())))
    assert not found, "\n".join(found)


def test_the_file_covers_every_method_and_optimiser():
    keys = stored()["train"]["defaults"]
    for name in (
        "SgdParameters.lr",
        "AdamwParameters.lr",
        "AdventParameters.adversarial_weight",
        "Augmentation.flip",
    ):
        assert name in keys
    assert stored()["split"]["defaults"]["SplitParameters.lambda"] == 0.67


@pytest.mark.parametrize(
    ("version", "value", "wanted"),
    [
        (1, 0.5, "raise `version` of kind split in pipeline/stages/kinds.py to 2"),
        (2, 0.5, "was 0.67 and is 0.5: then run"),
        (2, 0.67, "version was raised to 2"),
        (0, 0.67, "version went from 1 back to 0"),
    ],
)
def test_what_a_change_asks_for(version, value, wanted):
    old = {"split": {"version": 1, "seeded": False, "defaults": {"SplitParameters.lambda": 0.67}}}
    new = copy.deepcopy(old)
    new["split"]["version"] = version
    new["split"]["defaults"]["SplitParameters.lambda"] = value
    (line,) = complaints(old, new)
    assert wanted in line


def test_a_new_parameter_asks_for_the_file_only():
    old = {"split": {"version": 1, "seeded": False, "defaults": {}}}
    new = {"split": {"version": 1, "seeded": False, "defaults": {"SplitParameters.new": 1}}}
    (line,) = complaints(old, new)
    assert "raise" not in line and WRITE in line
    assert complaints(old, old) == []


def test_a_key_that_went_is_no_change_where_it_is_passed_over(monkeypatch):
    monkeypatch.setitem(DROPPED, "SplitParameters", {"old": Dropped(1)})
    new = {"split": {"version": 1, "seeded": False, "defaults": {}}}
    for value, wanted in ((1, 0), (2, 1)):
        old = {"split": {"version": 1, "seeded": False, "defaults": {"SplitParameters.old": value}}}
        assert len(complaints(old, new)) == wanted
