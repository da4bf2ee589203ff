"""A mistake in a configuration has one complaint, in plain words, with the name that was meant."""

import pytest

from pipeline.artifacts.errors import ConfigError
from pipeline.config.validation import validated
from pipeline.training.parameters import TrainParameters

GOOD = {"method": "supervised", "steps": 9, "snapshots": 1}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": None, "stepz": 9}, "x.yaml: stepz: unknown key; did you mean `steps`?"),
        (
            {"optimiser": {"kind": "adam"}},
            "x.yaml: optimiser.kind: found 'adam'; did you mean `adamw`? valid: adamw, sgd",
        ),
        (
            {"augmentation": {"source": {"crop": [8]}}},
            "x.yaml: augmentation.source.crop.1: missing; it must be given",
        ),
        (
            {"method": "minent", "objective": {"teacher_decay": 0.9}},
            "x.yaml: objective.minent.teacher_decay: unknown key of `minent`; valid: entropy_weight, lovasz_images,",
        ),
        ({"init_snapshot": "first"}, "x.yaml: init_snapshot: found 'first'; needs to match pattern '^(last|"),
        ({"steps": "many"}, "x.yaml: steps: found 'many'; needs to be a valid integer"),
        (
            {"batch": 70000},
            "x.yaml: batch: found 70000; needs to be less than or equal to 65536",
        ),
        (
            {"precision": "half"},
            "x.yaml: precision: found 'half'; needs to be 'tf32', 'float32' or 'bfloat16'",
        ),
    ],
)
def test_one_complaint_in_plain_words(change, complaint):
    values = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        validated(TrainParameters, values, "x.yaml")
    assert str(caught.value).startswith(complaint) and "\n" not in str(caught.value)


def test_a_missing_key_is_told_beside_an_unknown_one_that_does_not_mean_it():
    with pytest.raises(ConfigError) as caught:
        validated(TrainParameters, {"method": "supervised", "snapshots": 1, "bath": 2}, "x.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["steps", "bath"]
