"""What a guard compares: planned where the chain begins with source-only, and changing no other key."""

import pytest
from shop import keys_by_name

RECIPE = {
    "title": "toy",
    "stages": {"source": {"method": "supervised"}, "inter": {"method": "minent", "init": "source"}},
}


def planned(shop, recipe, **more):
    shop.write("recipes", "toy", recipe)
    shop.experiment("main", "toy", **more)
    return shop.run()


def test_a_guard_changes_no_key(shop):
    free, guarded = planned(shop, RECIPE), planned(shop, RECIPE | {"guard": True})
    assert (free.source_only, guarded.source_only) == (None, "source")
    assert keys_by_name(guarded) == keys_by_name(free)


def test_both_networks_are_scored_without_labels_where_only_the_last_snapshot_is_evaluated(shop):
    last = {"evaluate": {"snapshots": "last"}}
    free = planned(shop, RECIPE, set=last)
    assert not free.selects
    guarded = planned(shop, RECIPE | {"guard": True}, set=last)
    assert set(guarded.selects) == {"source", "inter"}
    assert {one.key for one in guarded.selects.values()} <= {one.key for one in guarded.all_stages()}
    assert {name: one.key for name, one in guarded.evaluates.items()} == {
        name: one.key for name, one in free.evaluates.items()
    }


@pytest.mark.parametrize(
    "first",
    [
        {"method": "supervised", "source": "task.target_labels"},
        {"method": "supervised", "objective": {"labelled_weight": 1.0}},
        {"method": "minent"},
    ],
)
def test_nothing_is_compared_without_source_only(shop, first):
    stages = {"source": first, "inter": RECIPE["stages"]["inter"]}
    more = {"labelled": {"count": 2}} if "objective" in first else {}
    assert planned(shop, RECIPE | {"guard": True, "stages": stages}, **more).source_only is None


def test_nothing_is_compared_with_itself(shop):
    stages = {"source": {"method": "supervised"}}
    assert planned(shop, RECIPE | {"guard": True, "stages": stages}).source_only is None
