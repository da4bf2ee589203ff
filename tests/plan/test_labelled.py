"""Labelled target images: closed labels, choices per seed, and the recipes and experiments that use them."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shipped import EXPERIMENTS, entries_of
from shop import SHIPPED, by_key

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.config.load import load_config
from pipeline.plan.datasets import nested_choice
from pipeline.plan.planner import Planner
from pipeline.stages.inputs import cache_of
from pipeline.stages.runner import run_stage

NAMES = [f"train_{number:05d}" for number in range(4)]
_watched: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event in ("open", "os.listdir", "os.scandir"):
        _watched.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | Path) else "")


sys.addaudithook(_audit)  # a hook stays for the life of the process; it records only while watched


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect every path that is opened, listed or looked at."""
    global _watched
    seen: list[str] = []
    real = os.stat

    def stat(path: Any, *args: Any, **more: Any) -> os.stat_result:
        seen.append("" if isinstance(path, int) else os.fsdecode(path))
        return real(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        _watched = seen
        try:
            yield seen
        finally:
            _watched = None


@pytest.fixture
def drive(shop, tmp_path):
    """A target of five pictures whose labels are pictures too, and a list of two of them."""
    folder = tmp_path / "data"
    names = shop.config().library.taxonomy("camvid11", "t").names
    for number in range(5):
        for kind, shape in (("images", (8, 8, 3)), ("labels", (8, 8))):
            path = folder / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(shape, number, dtype=np.uint8)).save(path)
    splits = {"train": {"images": "images/*.png", "labels": "labels/*.png"}}
    ids = {name: place for place, name in enumerate(names)}
    shop.write("datasets", "drive", {"root": str(folder), "splits": splits, "ids": ids})
    shop.edit("tasks", "tiny", target={"dataset": "drive"})
    (shop.root / "lists").mkdir()
    (shop.root / "lists" / "mine.txt").write_text("3\n1\n")
    shop.experiment("main", "ass", labelled={"names": "lists/mine.txt"})
    shop.settings(run={"device": "cpu", "threads": 1, "workers": 0})
    return shop, folder


def test_no_other_label_is_opened_listed_or_looked_at(drive, monkeypatch):
    shop, folder = drive
    with watched(monkeypatch) as seen:
        (run,) = shop.publish()
        stages = [run.stages["inter"].parents[role] for role in ("target", "labelled")]
        for stage in stages:
            assert run_stage(shop.results / "stages" / f"{stage.key}.json", None) == 0
    labels = {path for path in seen if Path(path).is_relative_to(folder / "labels")}
    assert labels == {str(folder / "labels" / name) for name in ("1.png", "3.png")}
    assert str(folder / "images" / "2.png") in seen
    cache = cache_of(ArtifactFolder(shop.results / "prepare" / stages[1].key))
    assert cache.names == ("3", "1") and cache.labels is not None
    assert [int(label[0, 0]) for label in cache.labels] == [3, 1]


def test_the_watch_sees_a_whole_labelled_split(drive, monkeypatch):
    shop, folder = drive
    shop.experiment("main", "oracle")
    with watched(monkeypatch) as seen:
        shop.run()
    assert str(folder / "labels") in seen


def test_the_choice_lies_in_the_artifact_and_its_sizes_in_the_key(drive):
    shop, folder = drive
    stage = shop.run().stages["inter"].parents["labelled"]
    assert stage.parameters.names == ("3", "1")
    assert stage.label == "prepare-drive-train-2-labelled"
    (folder / "labels" / "0.png").write_bytes(b"changed")
    assert shop.run().stages["inter"].parents["labelled"].key == stage.key
    (folder / "labels" / "1.png").write_bytes(b"changed")
    assert shop.run().stages["inter"].parents["labelled"].key != stage.key


def test_other_ids_change_the_labelled_images_alone(drive):
    shop, _ = drive
    before = shop.run().stages["inter"].parents
    shop.edit("datasets", "drive", ids={"sky": [0, 200]})
    after = shop.run().stages["inter"].parents
    assert after["labelled"].key != before["labelled"].key
    assert after["target"].key == before["target"].key


def test_a_list_may_begin_with_a_byte_order_mark(drive):
    shop, _ = drive
    (shop.root / "lists" / "mine.txt").write_text("3\n1\n", encoding="utf-8-sig")
    assert shop.run().stages["inter"].parents["labelled"].parameters.names == ("3", "1")


def test_each_seed_may_have_images_of_its_own(shop):
    chosen = {}
    for count in (2, 3):
        shop.experiment("main", "ass", labelled={"count": count, "seed": "run"}, seeds=[0, 5])
        for run in shop.runs():
            chosen[run.seed, count] = list(run.stages["inter"].parents["labelled"].parameters.names)
    assert chosen[0, 2] == nested_choice(NAMES, 2, 0) != chosen[5, 2]
    assert chosen[5, 3] == nested_choice(NAMES, 3, 5) and chosen[5, 3][:2] == chosen[5, 2]


def test_a_labelled_subset_that_no_stage_reads_is_refused(shop):
    shop.experiment("main", "advent", labelled={"count": 2})
    assert "labelled: no stage of recipe advent reads labelled target images" in shop.fails()
    shop.experiment("main", "advent")
    shop.edit("tasks", "tiny", labelled={"count": 2})
    assert (
        "tiny.yaml: (top): labelled: found {'count': 2}, but it is always None now; write `labelled`"
        in shop.fails()
    )


@pytest.mark.parametrize("recipe", ["ass", "ass-paper", "joint-ce", "target-only"])
def test_recipes_with_labels_ask_for_them(shop, recipe):
    shop.experiment("main", recipe, set={"train": {"snapshots": 1}})
    assert "give `labelled: {count: 20}`" in shop.fails()


def test_target_only_sees_no_source(shop):
    shop.experiment("main", "target-only", labelled={"count": 2})
    run = shop.run()
    labels = {stage.label for stage in by_key([run]).values() if stage.kind == "prepare"}
    assert labels == {
        "prepare-streets-camera-train-2-labelled",
        "prepare-streets-camera-train",
        "prepare-streets-camera-val",
    }
    assert run.stages["few"].parents["source"].label == "prepare-streets-camera-train-2-labelled"


def test_all_recipes_start_from_one_source_model(shop):
    found = {}
    for recipe in ("advent", "plca", "intrada-plca", "ass", "joint-ce"):
        labelled = {"labelled": {"count": 2}} if recipe in ("ass", "joint-ce") else {}
        shop.experiment("main", recipe, **labelled)
        found[recipe] = shop.run().stages
    assert len({stages["source"].key for stages in found.values()}) == 1
    assert len({stages["inter"].key for stages in found.values()}) == 4
    assert found["plca"]["inter"] == found["intrada-plca"]["inter"]
    assert found["intrada-plca"]["ranking"].parents["model"] == found["intrada-plca"]["inter"]
    assert set(found["joint-ce"]["inter"].parents) == {"source", "labelled", "init"}
    assert found["ass"]["inter"].parents["labelled"].key == found["joint-ce"]["inter"].parents["labelled"].key


def parameters_of(experiment: str) -> dict[str, Any]:
    """Validated parameters of a shipped experiment's stages by name; needs no data."""
    return {entry.name: entry.parameters for entry in entries_of(experiment)}


SHIPPED_HERE = sorted(
    name for name in EXPERIMENTS if re.match(r"(streets|idda|polyps)-(plca|ass|target-only|joint-ce)", name)
)


def test_every_row_of_the_tables_has_an_experiment():
    rows = {f"{word}-{count}" for word in ("ass", "target-only", "joint-ce") for count in (10, 20, 50)}
    for task in ("streets", "idda"):
        wanted = {f"{task}-{row}" for row in rows | {"plca", "ass-global-20", "ass-suggested-20"}}
        assert wanted <= set(SHIPPED_HERE)
        assert all(EXPERIMENTS[f"{task}-{row}"].labelled.count == int(row.split("-")[-1]) for row in rows)


@pytest.mark.parametrize("name", [name for name in SHIPPED_HERE if "target-only" not in name])
def test_shipped_experiments_share_the_source_model_of_their_task(name):
    task = name.split("-")[0]
    assert parameters_of(name)["source"] == parameters_of(f"{task}-intrada")["source"]


@pytest.mark.parametrize(("task", "word"), [("streets", "20"), ("idda", "50")])
def test_what_is_compared_learns_for_as_many_steps(task, word):
    steps = {
        name: sum(stage.steps for stage in parameters_of(f"{task}-{name}-{word}").values())
        for name in ("ass", "joint-ce", "target-only")
    }
    assert len(set(steps.values())) == 1


@pytest.mark.parametrize("name", [name for name in SHIPPED_HERE if "suggested" in name])
def test_a_shipped_list_holds_as_many_images_as_its_experiment_says(name):
    names = (SHIPPED / EXPERIMENTS[name].labelled.names).read_text().split()
    assert len(names) == len(set(names)) == int(name.rsplit("-", 1)[1])


def test_the_shipped_list_is_of_images_of_the_target():
    config = load_config(
        [SHIPPED / "streets.yaml"], {"only": "streets-ass-suggested-20", "seeds": 0}, SHIPPED
    )
    (run,) = Planner(config).plan()
    names = run.stages["inter"].parents["labelled"].parameters.names
    assert len(names) == 20 and set(names) <= set(
        nested_choice([f"train_{n:05d}" for n in range(400)], 400, 0)
    )


def test_published_settings_of_plca():
    (entry,) = entries_of("paper-plca-gta5")
    found: Any = entry.parameters
    assert (found.steps, found.horizon, found.batch, found.accumulation) == (10416, 11160, 8, 2)
    assert found.objective.lovasz_weight == 3.0
    assert found.optimiser.head_lr_mult == 1.0 and found.augmentation["target"].crop == (730, 730)


def test_a_seed_that_the_experiment_lacks_is_refused(shop):
    from pipeline.stages.parameters import SuggestParameters

    with pytest.raises(ConfigError, match=r"seeds: found \[0\], asked for 3"):
        Planner(shop.config()).suggestion("main", SuggestParameters(), 3)


def test_a_suggestion_uses_the_last_ranking_or_ranks_the_last_model(shop):
    from pipeline.stages.parameters import SuggestParameters

    shop.experiment("main", "intrada")
    run, stage = Planner(shop.config()).suggestion("main", SuggestParameters(count=2))
    assert stage.parents["ranking"] == run.stages["ranking"] and "labelled" not in stage.parents
    shop.experiment("main", "ass", labelled={"count": 2})
    run, stage = Planner(shop.config()).suggestion("main", SuggestParameters(count=2))
    ranking = stage.parents["ranking"]
    assert (ranking.kind, ranking.parents["model"]) == ("rank", run.stages["inter"])
    assert stage.parents["labelled"] == run.stages["inter"].parents["labelled"]
    assert stage.parents["images"] == run.stages["inter"].parents["target"]
