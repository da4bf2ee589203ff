"""Keys of former versions: passed over at the value that is the code's now, refused by name at any other."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import pipeline
from pipeline.config.validation import validated
from pipeline.data.parameters import Augmentation
from pipeline.schema.old_keys import DROPPED, RENAMED, with_hashed_names, with_present_keys
from pipeline.schema.strict import Strict
from pipeline.training.parameters import TrainParameters

FORMER = Path(__file__).with_name("former_parameters.json")
"""The parameters of a training in a stage record that named every key of its version."""

OTHER: dict[type, Any] = {bool: True, int: 7, float: 0.75, str: "other", tuple: [0.5, 0.5], dict: {"lr": 0.5}}
"""By type of a former value: something else, as YAML would give it."""


def models() -> dict[str, type[Strict]]:
    for path in sorted(Path(pipeline.__file__).parent.rglob("*.py")):
        if path.stem in ("parameters", "models", "spec", "taxonomy"):
            import_module(".".join(("pipeline", path.parent.name, path.stem)))

    def below(model: type[Strict]) -> list[type[Strict]]:
        return [model, *(found for one in model.__subclasses__() for found in below(one))]

    return {model.__name__: model for model in below(Strict)}


MODELS = models()
ENTRIES = [(name, key, dropped) for name, keys in DROPPED.items() for key, dropped in keys.items()]


@pytest.mark.parametrize(("name", "key", "dropped"), ENTRIES, ids=lambda one: str(one)[:40])
def test_every_entry_is_of_a_class_that_has_the_key_no_more(name, key, dropped):
    family = [model for model in MODELS.values() if name in [base.__name__ for base in model.__mro__]]
    assert family, f"{name} is no class"
    assert not any(key in (named, field.alias) for one in family for named, field in one.model_fields.items())
    bases = [base.__name__ for base in family[-1].__mro__]
    as_stored = json.loads(json.dumps(dropped.value))
    assert with_present_keys(bases, {key: as_stored, "other": 1}) == {"other": 1}
    with pytest.raises(ValueError, match=f"{key}: found .* but it is always"):
        with_present_keys(bases, {key: OTHER.get(type(dropped.value), "given")})


@pytest.mark.parametrize(
    ("value", "found", "same"),
    [
        (0, "0", True),
        (0, "1", False),
        (2e-4, "2e-4", True),
        (2e-4, "much", False),
        (False, "false", True),
        (False, "true", False),
        (None, None, True),
        (None, {"count": 20}, False),
        ((0.9, 0.99), [0.9, 0.99], True),
        ((0.9, 0.99), [0.9], False),
        ({"lr": 1e-4, "betas": (0.9, 0.99)}, {"lr": 1e-4}, True),
        ({"lr": 1e-4, "betas": (0.9, 0.99)}, {"lr": 1e-4, "decay": 0.0}, False),
    ],
)
def test_values_are_compared_as_they_are_written(monkeypatch, value, found, same):
    from pipeline.schema.old_keys import Dropped

    monkeypatch.setitem(DROPPED, "Any", {"gone": Dropped(value)})
    if same:
        assert with_present_keys(["Any"], {"gone": found}) == {}
    else:
        with pytest.raises(ValueError, match="gone: found"):
            with_present_keys(["Any"], {"gone": found})


def test_a_stored_record_of_a_former_version_is_read():
    stored = json.loads(FORMER.read_text("utf-8"))
    assert stored["warmup_steps"] == 0 and stored["objective"]["discriminator"]["lr"] == 1e-4
    read = TrainParameters.model_validate(stored)
    assert (read.method, read.steps, read.optimiser.lr) == ("advent", 200, 0.001)
    written = read.model_dump(mode="json")
    assert "warmup_steps" not in written and "discriminator" not in written["objective"]
    assert TrainParameters.model_validate(written) == read


def test_the_former_spelling_of_color_is_read_and_hashed():
    """Every finished training with colors changed at random has the former word in its key."""
    stored = json.loads(FORMER.read_text("utf-8"))
    read = TrainParameters.model_validate(stored).augmentation["source"]
    assert read.color.brightness == 0.4
    assert read.model_dump(exclude_defaults=True).keys() == {"flip", "colour"}
    assert Augmentation.model_validate({"flip": 0.5, "color": read.color.model_dump()}) == read


def test_another_value_names_the_file_and_the_key_and_says_what_to_do():
    stored = json.loads(FORMER.read_text("utf-8"))
    stored["objective"]["discriminator"]["lr"] = 3e-4
    with pytest.raises(
        Exception, match=r"old.yaml: objective.advent: discriminator: found .* remove the key"
    ):
        validated(TrainParameters, stored, "old.yaml")


def test_a_renamed_key_is_read_under_both_names_and_hashed_under_the_old_one(monkeypatch):
    monkeypatch.setitem(RENAMED, "Pair", {"left": "first"})

    class Pair(Strict):
        first: int = 0
        second: int = 0

    assert Pair.model_validate({"left": 3}) == Pair.model_validate({"first": 3})
    assert Pair(first=3).model_dump() == {"left": 3, "second": 0}
    assert Pair(first=3).model_dump(exclude_defaults=True) == {"left": 3}
    assert with_hashed_names(["Pair"], {"second": 1}) == {"second": 1}
    with pytest.raises(ValidationError, match="left: the former name of `first`, which is given too"):
        Pair.model_validate({"left": 3, "first": 3})
