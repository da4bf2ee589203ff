"""Settings that would fail only after their parents' hours of training are refused when planned."""

import pytest
from shop import keys_by_name

from pipeline.artifacts.errors import ConfigError
from pipeline.plan.planner import Planner
from pipeline.stages.parameters import SuggestParameters


@pytest.mark.parametrize("written", [5, "5"])
def test_a_step_that_keeps_a_snapshot_may_be_named_by_number_or_text(shop, written):
    shop.experiment("main", set={"train": {"snapshots": 2}, "ranking": {"snapshot": written}})
    assert shop.run().stages["ranking"].parameters.snapshot == "5"
    text = keys_by_name(shop.run())["ranking"]
    shop.experiment("main", set={"train": {"snapshots": 2}, "ranking": {"snapshot": "5"}})
    assert keys_by_name(shop.run())["ranking"] == text


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ranking": {"snapshot": 7}}, "stages.ranking.snapshot"),
        ({"intra": {"init_snapshot": 7}}, "stages.intra.init_snapshot"),
    ],
)
def test_a_step_without_snapshot_is_refused_with_those_there_are(shop, changes, key):
    shop.experiment("main", set={"train": {"snapshots": 2}, **changes})
    message = shop.fails()
    assert key in message and "found 7" in message and "the steps 5, 10" in message


def test_a_rare_class_ranking_needs_rare_classes(shop):
    shop.experiment("main", set={"split": {"ranking": "rare_code"}})
    shop.edit("taxonomies", "camvid11", rare=["pole"])
    assert shop.run().stages["split"].parameters.ranking == "rare_code"
    shop.edit("taxonomies", "camvid11", rare=[])
    message = shop.fails()
    assert "stages.split.ranking" in message and "taxonomy camvid11 names none" in message


@pytest.mark.parametrize("fits", [{"crop": [32, 24]}, None])
def test_classes_are_pasted_between_images_of_one_size(shop, fits):
    crops = {"source": {"crop": [32, 24]}, "target": fits or {"crop": [24, 24]}}
    shop.experiment("main", "dacs", set={"train": {"augmentation": crops}})
    if fits:
        assert "inter" in shop.run().stages
        return
    message = shop.fails()
    assert "stages.inter" in message and "found source 32x24, target 24x24" in message
    shop.experiment(
        "main", "dacs", set={"train": {"augmentation": crops}, "inter": {"objective": {"class_share": 0}}}
    )
    assert "inter" in shop.run().stages


@pytest.mark.parametrize("key", ["scale", "shorter_side"])
def test_images_that_pass_the_network_together_are_not_resized_each_by_itself(shop, key):
    resized = {key: [0.5, 2.0] if key == "scale" else [20, 40]}

    def experiment(batch, **more):
        augmentation = {"source": {**resized, **more}}
        shop.experiment("main", "source-only", set={"train": {"batch": batch, "augmentation": augmentation}})

    experiment(2)
    message = shop.fails()
    assert (
        f"stages.source: augmentation.source: {key} makes images of different sizes, and 2 of them" in message
    )
    assert shop.run(run={"gpus": 2}).trained, "one image a process"
    experiment(1)
    assert shop.run().trained
    experiment(2, crop=[32, 24])
    assert shop.run().trained


def test_images_of_two_caches_that_pass_the_network_together_have_one_size(shop):
    sources = [{"dataset": "streets-rendered", "size": size} for size in ([48, 32], [32, 24])]
    shop.edit("tasks", "tiny", source=sources)
    shop.experiment("main", "source-only", set={"train": {"batch": 2}})
    assert "images of 32x24 and 48x32 meet, and 2 of them" in shop.fails()


@pytest.mark.parametrize(
    ("recipe", "train", "gpus", "fitting"),
    [
        ("intrada", {"batch": 4}, 3, ("batch of 4 evenly", "1 or 2 or 4,", "multiple of 3")),
        ("intrada", {"batch": 8, "accumulation": 4}, 4, ("in multiples of 4;", "1 or 2,", "multiple of 16")),
        ("plca", {"batch": 8}, 8, ("in multiples of 2;", "1 or 2 or 4,", "multiple of 16")),
    ],
)
def test_processes_share_a_batch_evenly(shop, recipe, train, gpus, fitting):
    shop.experiment("main", recipe, set={"train": train})
    message = shop.fails(run={"gpus": gpus})
    for words in (f"stages.{'source' if recipe == 'intrada' else 'inter'}: {gpus} processes", *fitting):
        assert words in message
    assert shop.run(run={"gpus": 2}).trained


def test_plca_needs_a_grid_of_features(shop):
    shop.experiment("main", "plca", network="lenet")
    assert "backbone lenet has a single one" in shop.fails()


@pytest.mark.parametrize("word", ["labels1", "task.target"])
def test_a_prior_counts_a_datasets_own_labels(shop, word):
    stages = {"source": {"method": "supervised"}, "prior": {"kind": "prior", "source": word}}
    shop.edit("recipes", "cbst-sp", stages=stages)
    shop.experiment("main", "cbst-sp")
    assert "stages.prior.source" in shop.fails()


@pytest.mark.parametrize("recipe", ["target-only", "joint-ce", "after"])
def test_images_whose_labels_an_ancestor_had_are_not_suggested_again(shop, recipe):
    shop.write(
        "recipes",
        "after",
        {
            "title": "after",
            "stages": {
                "source": {"method": "supervised", "source": "task.labelled"},
                "inter": {"method": "advent", "init": "source"},
            },
        },
    )
    shop.experiment("main", recipe, labelled={"count": 2})
    _, stage = Planner(shop.config()).suggestion("main", SuggestParameters(count=2))
    assert len(stage.parents["labelled"].parameters.names) == 2


def test_more_suggestions_than_images_without_labels_are_refused_at_once(shop):
    shop.experiment("main", "ass", labelled={"count": 2})
    with pytest.raises(ConfigError, match="of the 4 target images 2 have labels; ask for 2 at most"):
        Planner(shop.config()).suggestion("main", SuggestParameters(count=3))


def test_a_frozen_network_starts_from_weights_and_goes_on_without(shop, tmp_path):
    weights = {"source": str(tmp_path / "weights.pth"), "layout": "torchvision", "profile": "torch"}
    (tmp_path / "weights.pth").write_bytes(b"any")
    shop.write("networks", "frozen", {"backbone": "mobilenet_v2", "freeze_below": 8, "weights": weights})
    shop.experiment("main", "advent", network="frozen")
    networks = [stage.record.network.parameters for stage in shop.run().trained.values()]
    assert [one.freeze_below for one in networks] == [8, 8]
    assert [one.weights is None for one in networks] == [False, True]
    shop.write("networks", "frozen", {"backbone": "mobilenet_v2", "freeze_below": 8})
    assert "would keep random numbers; give the network `weights`" in shop.fails()
