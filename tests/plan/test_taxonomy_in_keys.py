"""What each kind reads of a taxonomy, and that the rest, and what else changes nothing, is in no key."""

import pytest
from shop import changed
from test_keys import AFTER_SPLIT, ALL

from pipeline.datasets.taxonomy import Taxonomy
from pipeline.stages.kinds import KINDS

READ = {
    "prepare": ("classes", "ignored"),
    "train": ("classes", "things"),
    "rank": ("classes",),
    "split": ("classes", "rare"),
    "pseudolabel": ("classes",),
    "prior": ("classes",),
    "select": (),
    "evaluate": ("classes", "subsets"),
    "suggest": ("classes", "colors"),
}
"""Frozen: a part more or less is another key of every stage of the kind."""
EVALUATES = {name for name in ALL if name.startswith("evaluate:")}
LABELLED = {"data:streets-rendered-train", "data:streets-camera-val"}


def test_each_kind_reads_what_it_read():
    assert {name: kind.taxonomy for name, kind in KINDS.items()} == READ


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"things": ["car"]}, set()),
        ({"subsets": {"few": ["road", "sky"]}}, EVALUATES),
        ({"rare": ["pole"]}, {"split", *AFTER_SPLIT}),
        ({"ignored": ["dust"]}, ALL - {"data:streets-camera-train"}),
    ],
)
def test_a_part_of_the_taxonomy_changes_what_reads_it_alone(shop, change, expected):
    before = shop.run()
    shop.edit("taxonomies", "camvid11", **change)
    assert changed(before, shop.run()) == expected


@pytest.mark.parametrize(
    ("text", "other"), [("[90, 75, 65]", "[0, 128, 0]"), ("name: camvid11", "name: mine")]
)
def test_a_color_and_the_taxonomys_name_change_nothing(shop, text, other):
    before = shop.run()
    path = shop.path("taxonomies", "camvid11")
    assert path.read_text("utf-8").count(text) == 1
    path.write_text(path.read_text("utf-8").replace(text, other))
    assert changed(before, shop.run()) == set()


def test_data_without_labels_hold_no_taxonomy(shop):
    run = shop.run()
    target, source = (run.stages["inter"].parents[role].record.hashed for role in ("target", "source"))
    assert "taxonomy" not in target
    assert source["taxonomy"].keys() == {"classes", "ignored"}


@pytest.mark.parametrize(("size", "expected"), [(None, set()), ([48, 32], {"data:streets-camera-train"})])
def test_the_filter_counts_only_where_images_are_resized(shop, size, expected):
    shop.edit("tasks", "tiny", target={"size": size}, evaluate={"size": None, "resample": "bicubic"})
    before = shop.run()
    shop.edit("tasks", "tiny", target={"resample": "bilinear"})
    assert changed(before, shop.run()) & {name for name in ALL if name.startswith("data:")} == expected


def test_a_stage_is_given_no_more_than_its_key_holds():
    whole = Taxonomy.model_validate(
        {
            "name": "own",
            "classes": [{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [4, 5, 6]}],
            "subsets": {"one": ["b"]},
            "things": ["a"],
            "rare": ["b"],
            "ignored": ["c"],
        }
    )
    given = Taxonomy.of_parts(whole.parts(READ["split"]))
    assert (given.names, given.rare, given.num_classes) == (("a", "b"), ("b",), 2)
    assert (given.subsets, given.things, given.ignored) == ({}, (), ())
    assert given.palette()[:2].tolist() != whole.palette()[:2].tolist()
    colored = Taxonomy.of_parts(whole.parts(READ["suggest"]))
    assert colored.palette().tolist() == whole.palette().tolist()


def test_things_are_in_the_key_of_a_training_that_asks_for_them(shop):
    distance = {"feature_distance": {"where": "things", "weight": 0.1}}
    shop.experiment("main", set={"inter": {"objective": distance}}, recipe="daformer")
    before = shop.run()
    assert "things" not in before.stages["source"].record.hashed["taxonomy"]
    shop.edit("taxonomies", "camvid11", things=["car"])
    assert changed(before, shop.run()) == {"inter", "select:inter", "evaluate:inter"}
