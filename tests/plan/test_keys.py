"""What enters a stage's key and what does not."""

import pytest
from shop import by_key, changed

from pipeline.networks.parameters import NetworkParameters
from pipeline.plan import run
from pipeline.plan.stage import PlannedNetwork, _hashed_network, make_stage

ALL = {
    "data:streets-rendered-train",
    "data:streets-camera-train",
    "data:streets-camera-val",
    *("source", "inter", "ranking", "split", "labels", "intra"),
    *(f"{what}:{name}" for what in ("select", "evaluate") for name in ("source", "inter", "intra")),
}
AFTER_SPLIT = {"labels", "intra", "select:intra", "evaluate:intra"}
NETWORK = {"weights": {"source": "a/weights.pth", "sha256": "0" * 64}}


def files_dataset(shop, folder, sizes=(5, 6)):
    """A dataset of files in `folder`; planning looks at names and sizes only."""
    for number, size in enumerate(sizes):
        for kind, ending in (("images", "jpg"), ("labels", "png")):
            path = folder / kind / f"{number}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(size))
    ids = {name: place for place, name in enumerate(class_names(shop))}
    split = {"images": "images/*.jpg", "labels": "labels/*.png"}
    shop.write("datasets", "own", {"root": str(folder), "splits": {"train": split}, "ids": ids})
    shop.edit("tasks", "tiny", source={"dataset": "own"})


def class_names(shop):
    return shop.config().library.taxonomy("camvid11", "test").names


def test_a_key_is_label_and_twelve_digits_of_the_digest(shop):
    stage = shop.run().stages["inter"]
    assert stage.key == f"advent-tiny-s0-{stage.digest[:12]}"
    assert len(stage.digest) == 64


def test_planning_twice_gives_the_same_keys(shop):
    assert changed(shop.run(), shop.run()) == set()


def test_the_label_is_not_hashed(shop):
    before = shop.run()
    shop.path("tasks", "tiny").rename(shop.path("tasks", "renamed"))
    shop.experiment("main", task="renamed")
    after = shop.run()
    assert {name: stage.digest for name, stage in before.stages.items()} == {
        name: stage.digest for name, stage in after.stages.items()
    }
    assert after.stages["source"].key.startswith("supervised-renamed-s0-")


def test_the_experiments_name_and_title_are_in_no_key(shop):
    before = shop.run()
    shop.edit("recipes", "intrada", title="another title", description="another")
    shop.suite({"other": shop.experiments["main"]})
    assert changed(before, shop.run(only="other")) == set()


def test_a_stages_name_in_the_recipe_is_not_hashed(shop):
    before = shop.run()
    text = shop.path("recipes", "intrada").read_text()
    shop.path("recipes", "intrada").write_text(text.replace("inter", "between"))
    after = shop.run()
    assert after.stages["between"].key == before.stages["inter"].key
    assert after.stages["intra"].key == before.stages["intra"].key


def test_lambda_changes_split_and_what_follows(shop):
    before = shop.run()
    shop.experiment("main", set={"split": {"lambda": 0.5}})
    assert changed(before, shop.run()) == {"split", *AFTER_SPLIT}


def test_the_seed_changes_trainings_and_their_children_but_no_data(shop):
    first, second = shop.runs(only="main")[0], None
    shop.experiment("main", seeds=[1])
    second = shop.run()
    assert changed(first, second) == ALL - {
        "data:streets-rendered-train",
        "data:streets-camera-train",
        "data:streets-camera-val",
    }


def test_the_seed_itself_is_hashed_only_where_numbers_are_drawn(shop):
    hashed = {stage.kind: "seed" in stage.record.hashed for stage in by_key(shop.runs()).values()}
    assert {kind for kind, has in hashed.items() if has} == {"train"}
    assert {"prepare", "rank", "split", "pseudolabel", "select", "evaluate"} <= set(hashed)


def test_experiments_that_share_a_prefix_share_its_stages(shop):
    shop.experiment("plain", "advent")
    shop.experiment("minent", "minent")
    intrada, advent, minent = shop.runs(only="main,plain,minent")
    assert advent.stages["inter"] is intrada.stages["inter"]
    assert advent.evaluates["inter"] is intrada.evaluates["inter"]
    assert minent.stages["source"] is intrada.stages["source"]
    assert minent.stages["inter"].key != advent.stages["inter"].key


def test_what_experiments_share_is_hashed_once(shop, monkeypatch):
    shop.experiment("plain", "advent")
    shop.experiment("again")
    made = []
    monkeypatch.setattr(
        run, "make_stage", lambda kind, *rest: made.append(kind.name) or make_stage(kind, *rest)
    )
    runs = shop.runs(only="main,plain,again")
    assert sorted(made) == sorted(stage.kind for stage in by_key(runs).values() if stage.kind != "prepare")


def test_tasks_with_one_source_share_its_training(shop):
    shop.edit("datasets", "streets-camera", splits={"more": {"count": 3}})
    shop.write(
        "tasks",
        "second",
        {
            "taxonomy": "camvid11",
            "source": {"dataset": "streets-rendered"},
            "target": {"dataset": "streets-camera", "split": "more"},
        },
    )
    shop.experiment("other", task="second")
    main, other = shop.runs(only="main,other")
    assert other.stages["source"] is main.stages["source"]
    assert other.stages["inter"].key != main.stages["inter"].key


def test_what_no_seed_has_a_part_in_is_made_once(shop):
    shop.experiment("main", "cbst-sp", seeds=[0, 1])
    first, second = shop.runs()
    assert first.stages["prior"] is second.stages["prior"]
    assert "-s0" not in first.stages["prior"].key
    assert first.stages["labels1"].key != second.stages["labels1"].key


def test_another_root_with_the_same_files_changes_nothing(shop, tmp_path):
    files_dataset(shop, tmp_path / "a")
    before = shop.run()
    files_dataset(shop, tmp_path / "b")
    assert changed(before, shop.run()) == set()


@pytest.mark.parametrize("which", ["images/1.jpg", "labels/1.png"])
def test_a_file_of_another_size_changes_the_data_and_all_that_read_it(shop, tmp_path, which):
    files_dataset(shop, tmp_path / "a")
    before = shop.run()
    (tmp_path / "a" / which).write_bytes(bytes(99))
    names = changed(before, shop.run())
    assert {"source", "inter", "intra"} <= names and "data:own-train" in names
    assert "data:streets-camera-train" not in names


def test_a_new_file_changes_the_data(shop, tmp_path):
    files_dataset(shop, tmp_path / "a")
    before = shop.run()
    files_dataset(shop, tmp_path / "a", sizes=(5, 6, 7))
    assert "data:own-train" in changed(before, shop.run())


def test_where_data_come_from_in_words_changes_nothing(shop):
    before = shop.run()
    shop.edit("datasets", "streets-camera", license="another", source="someone", where="there")
    assert changed(before, shop.run()) == set()


@pytest.mark.parametrize("checksum", [None, "0" * 64])
def test_the_licence_of_weights_changes_nothing(checksum):
    said = {"source": "a.pth", "sha256": checksum}
    plain, licensed = (
        _hashed_network(
            PlannedNetwork(
                parameters=NetworkParameters(backbone="resnet18", weights=said | more), num_classes=3
            )
        )
        for more in ({}, {"license": "mine"})
    )
    assert plain == licensed


def test_a_split_that_the_task_does_not_use_changes_nothing(shop):
    before = shop.run()
    shop.edit("datasets", "streets-camera", splits={"other": {"count": 1}})
    assert changed(before, shop.run()) == set()


def test_what_labels_mean_changes_labelled_data_only(shop):
    before = shop.run()
    shop.edit("datasets", "streets-camera", ids={"bicyclist": [10, 11]})
    names = changed(before, shop.run())
    assert "data:streets-camera-val" in names and "data:streets-camera-train" not in names
    assert names == {"data:streets-camera-val"} | {name for name in ALL if name.startswith("evaluate:")}


def test_a_value_equal_to_its_default_is_not_hashed(shop):
    before = shop.run()
    spelt_out = {
        "train": {"power": 0.9, "accumulation": 1, "optimiser": {"kind": "sgd", "momentum": 0.9}},
        "rank": {"batch": 1},
        "evaluate": {"test_mode": "plain"},
        "inter": {"objective": {"adversarial_weight": 1e-3}},
    }
    shop.experiment("main", set=spelt_out)
    after = shop.run()
    # An optimiser that is spelt out differs as a whole only where a value differs.
    assert after.stages["ranking"].record.hashed["parameters"] == {}
    assert "power" not in after.stages["source"].record.hashed["parameters"]
    assert changed(before, after) == set()


def test_a_value_other_than_its_default_is_hashed(shop):
    before = shop.run()
    shop.experiment("main", set={"intra": {"power": 0.8}})
    assert changed(before, shop.run()) == {"intra", "select:intra", "evaluate:intra"}


def test_every_parameter_lies_in_the_stage_whether_hashed_or_not(shop):
    stage = shop.run().stages["ranking"]
    assert stage.parameters.batch == 1 and stage.parameters.snapshot == "last"


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "cpu"},
        {"threads": 7},
        {"workers": 5},
        {"gpus": 3},
        {"parts": 9},
        {"state_minutes": 1.0},
        {"log_every": 3},
        {"runtime_minutes": 5.0},
        {"allow_changed": ["software"]},
    ],
)
def test_run_settings_are_not_hashed(shop, settings):
    shop.experiment("main", set={"train": {"batch": 3}})
    assert changed(shop.run(), shop.run(run=settings)) == set()


def test_determinism_is_hashed_in_every_stage_that_computes(shop):
    data = {name for name in ALL if name.startswith("data:")}
    assert changed(shop.run(), shop.run(determinism="fast")) == ALL - data


def test_the_inference_batch_is_hashed_in_exact_and_free_in_fast(shop):
    exact, fast = shop.run(), shop.run(determinism="fast")
    shop.experiment("main", set={"rank": {"batch": 8}, "evaluate": {"batch": 4}, "select": {"batch": 4}})
    names = changed(exact, shop.run())
    assert {"ranking", "split", "intra", "evaluate:source", "select:source"} <= names
    assert "inter" not in names
    assert changed(fast, shop.run(determinism="fast")) == set()


def test_the_batch_of_a_training_is_hashed_in_fast_too(shop):
    fast = shop.run(determinism="fast")
    shop.experiment("main", set={"intra": {"batch": 2}})
    assert "intra" in changed(fast, shop.run(determinism="fast"))


def networks(shop, **weights):
    """Give the experiment a MobileNet with these weights."""
    shop.edit("networks", "mobilenet-v2", weights={**NETWORK["weights"], **weights})
    shop.experiment("main", network="mobilenet-v2")


def test_where_checked_weights_lie_is_not_hashed(shop):
    networks(shop)
    before = shop.run()
    networks(shop, source="elsewhere/weights.pth")
    after = shop.run()
    assert changed(before, after) == set()
    assert after.stages["source"].record.network.parameters.weights.source == "elsewhere/weights.pth"


def test_the_checksum_of_weights_is_hashed(shop):
    networks(shop)
    before = shop.run()
    networks(shop, sha256="1" * 64)
    assert "source" in changed(before, shop.run())


def test_a_stage_that_starts_from_another_does_not_name_initial_weights(shop):
    networks(shop)
    run = shop.run()
    assert run.stages["inter"].record.network.parameters.weights is None
    assert "weights" not in run.stages["inter"].record.hashed["parameters"]["network"]


def test_parents_are_hashed_by_role(shop):
    """The same two artifacts in exchanged roles are another stage."""
    shop.edit("datasets", "streets-camera", splits={"more": {"count": 3}})
    first, second = {"dataset": "streets-rendered"}, {"dataset": "streets-camera", "split": "more"}
    shop.edit("tasks", "tiny", source=[first, second])
    before = shop.run()
    shop.edit("tasks", "tiny", source=[second, first])
    assert "source" in changed(before, shop.run())


@pytest.mark.parametrize("split", ["Held Out", "mit_ümlaut", "a/b"])
def test_a_split_of_any_name_gives_a_key_that_is_a_file_name(shop, split):
    shop.edit("datasets", "streets-rendered", splits={split: {"count": 2}})
    shop.edit("tasks", "tiny", source={"dataset": "streets-rendered", "split": split})
    for key in by_key(shop.runs()):
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-"), key


def test_a_figure_belongs_to_its_test_mode(shop):
    before = shop.run()
    shop.experiment("main", set={"evaluate": {"test_mode": "multiscale_flip"}})
    assert changed(before, shop.run()) == {name for name in ALL if name.startswith("evaluate:")}


def test_a_figure_belongs_to_its_list_of_images(shop):
    before = shop.run()
    shop.edit("datasets", "streets-camera", splits={"val": {"count": 3}})
    names = changed(before, shop.run())
    assert names == {"data:streets-camera-val"} | {name for name in ALL if name.startswith("evaluate:")}


def test_the_number_of_levels_is_hashed(shop):
    before = shop.run()
    shop.edit("networks", "small", levels="multi")
    assert {"source", "inter", "intra"} <= changed(before, shop.run())
