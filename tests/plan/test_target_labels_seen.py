"""Whether a run opened labels of the target's images: what the page never calls the best without them."""

import pytest


@pytest.mark.parametrize(
    ("recipe", "more", "opened"),
    [
        ("source-only", {}, False),
        ("intrada", {}, False),
        ("cbst", {}, False),
        ("oracle", {}, True),
        ("joint-ce", {"labelled": {"count": 2}}, True),
    ],
)
def test_labels_of_the_target_are_noticed(shop, recipe, more, opened):
    shop.experiment("main", recipe, **more)
    assert shop.run().target_labels is opened


def test_a_source_of_the_same_dataset_is_no_target(shop):
    """One camera by day and by night: two splits of one dataset."""
    shop.edit("datasets", "streets-camera", splits={name: {"count": 4} for name in ("day", "night", "val")})
    parts = {"source": "day", "target": "night", "evaluate": "val"}
    shop.edit(
        "tasks",
        "tiny",
        **{role: {"dataset": "streets-camera", "split": split} for role, split in parts.items()},
    )
    shop.experiment("main", "source-only")
    assert shop.run().target_labels is False
    shop.experiment("main", "oracle")
    assert shop.run().target_labels is True
