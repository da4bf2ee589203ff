"""Finished artifacts under another readable word, or under the key of the former rule, are found; why others are not.

`former_results.json` has what the manifests of a finished demo say was hashed, by folder, as the former rule made it.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from shipped import CONFIG
from shop import by_key, finish, manifest

from pipeline.artifacts.files import digest_of, write_json
from pipeline.config.load import load_config
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.plan.table import plan_rows
from pipeline.stages.kinds import KINDS

FORMER = json.loads(Path(__file__).with_name("former_results.json").read_text("utf-8"))
SUITE = Path(__file__).with_name("former_demo.yaml")


def reasons(shop):
    """State and reason by label."""
    runs = shop.runs()
    stages = by_key(runs)
    return {stages[key].label: (state, why) for state, _, key, why in plan_rows(runs, shop.results)}


def test_a_task_under_another_name_finds_what_was_made(shop):
    for stage in by_key(shop.runs()).values():
        finish(shop, stage)
    before = shop.run()
    shop.path("tasks", "tiny").rename(shop.path("tasks", "renamed"))
    shop.experiment("main", task="renamed")
    after = shop.run()
    assert {name: stage.key for name, stage in after.stages.items()} == {
        name: stage.key for name, stage in before.stages.items()
    }
    assert after.stages["source"].label == "supervised-renamed-s0"
    assert {state for state, _ in reasons(shop).values()} == {"done"}


def test_the_same_digits_of_another_digest_are_not_taken(shop):
    stage = shop.run().stages["source"]
    digits = stage.key[-12:]
    write_json(manifest(shop.results, stage.rule, f"other-{digits}"), {"hashed": {"kind": "train"}})
    assert shop.run().stages["source"].key == stage.key


def test_what_was_begun_under_another_word_goes_on_there(shop):
    stage = shop.run().stages["source"]
    begun = f"supervised-before-s0-{stage.digest[:12]}"
    (shop.results / stage.rule / begun / "state").mkdir(parents=True)
    assert shop.run().stages["source"].key == begun
    finish(shop, stage)
    assert shop.run().stages["source"].key == stage.key, "a finished one comes first"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Plan the demo with the versions of the former results, in a folder that holds them."""
    for folder, hashed in FORMER.items():
        rule, key = folder.split("/")
        assert key.endswith(digest_of(hashed)[:12])
        monkeypatch.setitem(KINDS, hashed["kind"], replace(KINDS[hashed["kind"]], version=hashed["version"]))
        write_json(manifest(tmp_path / "results", rule, key), {"hashed": hashed})

    def planned(root=CONFIG):
        config = load_config([SUITE], root=root)
        (run,) = Planner(config, tmp_path / "results").plan()
        return list(in_order(run.all_stages()))

    return planned


def test_results_of_the_former_rule_are_taken_and_the_record_says_so(demo):
    stages = demo()
    assert {f"{stage.rule}/{stage.key}" for stage in stages} == FORMER.keys()
    for stage in stages:
        assert stage.record.former == digest_of(FORMER[f"{stage.rule}/{stage.key}"])
        assert stage.record.digest != stage.record.former


def test_they_are_taken_though_a_color_and_a_name_changed_since(demo, tmp_path):
    shutil.copytree(CONFIG, tmp_path / "config")
    path = tmp_path / "config/taxonomies/camvid11.yaml"
    text = path.read_text("utf-8").replace("[90, 75, 65]", "[0, 128, 0]").replace("things:", "things: []\n#")
    path.write_text(text.replace("name: camvid11", "name: mine"), "utf-8")
    assert {f"{stage.rule}/{stage.key}" for stage in demo(tmp_path / "config")} == FORMER.keys()


def test_another_version_is_computed_again_and_the_plan_says_why(demo, monkeypatch, tmp_path):
    monkeypatch.setitem(KINDS, "train", replace(KINDS["train"], version=99))
    config = load_config([SUITE], root=CONFIG)
    runs = Planner(config, tmp_path / "results").plan()
    rows = {by: (state, why) for state, by, _, why in plan_rows(runs, tmp_path / "results")}
    assert rows["demo/seed0:source"] == ("to run", "version changed: 3 to 99")
    assert rows["(data)"] == ("done", "under its key of the former rule")


@pytest.mark.parametrize(
    ("change", "label", "why"),
    [
        (
            lambda shop: rename_class(shop),
            "prepare-streets-rendered-train",
            "data changed; taxonomy changed: classes",
        ),
        (
            lambda shop: shop.edit("taxonomies", "camvid11", ignored=["dust"]),
            "prepare-streets-camera-val",
            "taxonomy changed: ignored",
        ),
        (
            lambda shop: shop.experiment("main", set={"source": {"steps": 11, "batch": 2}}),
            "supervised-tiny-s0",
            "batch: 1 -> 2; steps: 10 -> 11",
        ),
        (
            lambda shop: shop.edit("datasets", "streets-camera", splits={"train": {"count": 5}}),
            "prepare-streets-camera-train",
            "data changed",
        ),
    ],
)
def test_the_plan_says_what_changed(shop, change, label, why):
    for stage in by_key(shop.runs()).values():
        finish(shop, stage)
    change(shop)
    assert reasons(shop)[label] == ("to run", why)


def rename_class(shop):
    for folder, name in (
        ("taxonomies", "camvid11"),
        ("datasets", "streets-camera"),
        ("datasets", "streets-rendered"),
    ):
        path = shop.path(folder, name)
        path.write_text(path.read_text("utf-8").replace("bicyclist", "cyclist"), "utf-8")
