"""The reason why a stage would run again names the values that changed, and compares with what is most alike."""

import pytest
from shop import by_key, finish

from pipeline.plan.hashed_parameters import HashedParameters
from pipeline.plan.table import plan_rows

MANY = {"batch": 2, "power": 1.0, "precision": "float32", "snapshots": 3, "steps": 12}


def training(shop, values, **more):
    """Write the experiment `main` as one training with these parameters."""
    shop.experiment("main", "source-only", set={"source": values}, **more)


def done(shop, values, **more):
    """Finish every stage of that experiment."""
    training(shop, values, **more)
    for stage in by_key(shop.runs()).values():
        finish(shop, stage)


def why(shop, values, **more):
    """The reason why the training would run."""
    training(shop, values, **more)
    runs = shop.runs()
    key = runs[0].stages["source"].key
    return next(why for _, _, row, why in plan_rows(runs, shop.results) if row == key)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ({"steps": 8}, {"steps": 9}, "steps: 8 -> 9"),
        ({}, {"optimiser": {"lr": 0.001}}, "optimiser.lr: 0.00025 -> 0.001"),
        ({"optimiser": {"lr": 0.001}}, {}, "optimiser.lr: 0.001 -> 0.00025"),
        (
            {},
            {"optimiser": {"kind": "adamw", "decays": "no_norms"}},
            "optimiser.decays: none -> no_norms; optimiser.kind: sgd -> adamw",
        ),
        ({}, {"horizon": 20}, "horizon: none -> 20"),
        (
            {"augmentation": {"source": {"color": {"hue": 0.1}}}},
            {"augmentation": {"source": {"color": {"hue": 0.2}}}},
            "augmentation.source.color.hue: 0.1 -> 0.2",
        ),
        (
            {},
            {"augmentation": {"source": {"crop": [64, 32]}}},
            "augmentation.source.crop: none -> [64,32]",
        ),
        ({}, MANY, "batch: 1 -> 2; power: 0.9 -> 1.0; precision: tf32 -> float32; and 2 more"),
    ],
)
def test_the_values_that_differ_are_named(shop, before, now, reason):
    done(shop, {"optimiser": {"kind": "sgd"}, **before})
    assert why(shop, {"optimiser": {"kind": "sgd"}, **now}) == reason


def test_the_nearest_is_compared_whatever_the_folders_are_called(shop):
    near = [{"steps": 8 + number, "batch": 2 + number} for number in range(4)]
    for values in near:
        done(shop, {**values, "power": 0.5})
    for values in near:
        assert why(shop, {**values, "power": 0.6}) == "power: 0.5 -> 0.6"


def test_of_those_as_near_the_one_made_from_the_same_is_compared(shop):
    def sized(count):
        shop.edit("datasets", "streets-rendered", splits={"train": {"count": count}})

    for count, steps in ((4, 8), (5, 9), (6, 10)):
        sized(count)
        done(shop, {"steps": steps})
    for count, steps in ((4, 8), (5, 9), (6, 10)):
        sized(count)
        assert why(shop, {"steps": 11}) == f"steps: {steps} -> 11"


def test_the_networks_values_are_named(shop):
    done(shop, {})
    shop.edit("networks", "small", dilations=[1, 3])
    assert why(shop, {}) == "network.dilations: [1,3,6] -> [1,3]"


def test_what_fast_leaves_out_of_keys_is_no_change(shop):
    shop.experiment("main", set={"rank": {"batch": 7}})
    for stage in by_key(shop.runs()).values():
        finish(shop, stage)
    runs = shop.runs(determinism="fast")
    found = {key: why for _, _, key, why in plan_rows(runs, shop.results)}
    assert found[runs[0].stages["ranking"].key] == "determinism: exact -> fast"


def test_a_value_too_long_for_a_line_is_cut(shop):
    done(shop, {})
    shop.edit("networks", "small", dilations=list(range(1, 21)))
    assert why(shop, {}) == "network.dilations: [1,3,6] -> [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,..."


def test_what_is_not_valid_today_says_nothing_of_defaults():
    former = HashedParameters("train", {"method": "supervised", "steps": 8, "batch": 0})
    now = HashedParameters("train", {"method": "supervised", "steps": 8, "objective": {}, "power": 0.5})
    assert [(former.value(path), now.value(path)) for path in now.differing(former)] == [
        ("0", "1"), ("default", "0.5")
    ]  # fmt: skip
