"""Further splits of a task: which models are scored on them, and that nothing else gets another key."""

import pytest
from shop import keys_by_name

DRIVES = {"dataset": "streets-camera", "split": "train"}


def also(shop, **splits):
    shop.edit("tasks", "tiny", also=splits)


def test_every_training_is_scored_by_its_last_snapshot(shop):
    before = {name: key for name, key in keys_by_name(shop.run()).items() if "data:" not in name}
    also(shop, drives={**DRIVES, "transductive": True})
    run = shop.run()
    assert keys_by_name(run).items() >= before.items()
    assert set(run.also) == {"drives (transductive)"}
    scored = run.also["drives (transductive)"]
    assert set(scored) == set(run.trained)
    for name, stage in scored.items():
        assert stage in run.all_stages() and stage.parameters.snapshots == "last"
        assert set(stage.parents) == {"model", "data"} and stage.parents["model"] is run.trained[name]
        assert stage.parents["data"].parameters.labels == "native"
        assert stage.parents["data"].record.data.split == "train"


def test_images_of_the_target_need_the_word(shop):
    also(shop, drives=DRIVES)
    assert "4 images are in both the target split `train`" in shop.fails()
    also(shop, drives={"dataset": "streets-camera", "split": "val"})
    assert set(shop.run().also) == {"drives"}


def test_a_model_that_had_labels_of_the_split_gets_no_score(shop):
    also(shop, drives={**DRIVES, "transductive": True})
    for recipe, more in (("oracle", {}), ("ass", {"labelled": {"count": 2}})):
        shop.experiment("main", recipe, **more)
        run = shop.run()
        scored = run.also.get("drives (transductive)", {})
        assert set(run.evaluates) == set(run.trained)
        assert set(scored) == set(run.trained) - {run.final}


@pytest.mark.parametrize("own", [{}, {"size": [48, 32]}])
def test_a_further_split_is_scored_at_the_targets_size_unless_it_has_its_own(shop, own):
    shop.edit("tasks", "tiny", target={"size": [24, 16], "resample": "bilinear"})
    also(shop, drives={**DRIVES, "transductive": True, **own})
    (stages,) = shop.run().also.values()
    data = next(iter(stages.values())).parents["data"]
    assert (data.parameters.size, data.parameters.resample) == (tuple(own.get("size", (24, 16))), "bilinear")
