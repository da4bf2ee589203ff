"""What is laid over an experiment makes another one; its own folder moves only with the file that describes it."""

import json
import re
from pathlib import Path

import pytest

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.files import write_json
from pipeline.config.load import load_config, parse_assignments
from pipeline.plan.moves import check_taken, moves
from pipeline.plan.overrides import overridden
from pipeline.plan.planner import Planner
from pipeline.plan.workflow import Plan

SNAKEFILE = Path(__file__).resolve().parents[2] / "workflow" / "Snakefile"


def names(shop, *words, files=()):
    """What the selected experiments are called with these words given to `--config`."""
    config = load_config(files, parse_assignments(words), root=shop.root)
    return [run.experiment for run in Planner(config).plan()]


@pytest.fixture
def here(shop, monkeypatch):
    monkeypatch.chdir(shop.root.parent)
    return shop


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["set.split.lambda=0.5"], "main+split.lambda=0.5"),
        (["set.train.steps=20", "set.split.lambda=0.5"], "main+train.steps=20+split.lambda=0.5"),
        (["set.source.steps=20", "set.intra.steps=30"], "main+source.steps=20+intra.steps=30"),
        (["determinism=fast"], "main+determinism=fast"),
        (["task=other"], "main+task=other"),
        (["network=deeplab-v2-r101"], "main+network=deeplab-v2-r101"),
        (["determinism=exact"], "main"),
        (["task=tiny", "network=small"], "main"),
        (["run.device=cpu", "run.threads=1", "only=main", "seeds=0"], "main"),
    ],
)
def test_the_name_says_what_changes_keys_and_nothing_else(shop, words, name):
    task = json.loads(shop.path("tasks", "tiny").read_text())
    shop.write("tasks", "other", task)
    assert names(shop, *words) == [name]


def test_the_stages_are_those_of_the_file_with_the_same_values(shop):
    config = load_config(overrides=parse_assignments(["set.split.lambda=0.5"]), root=shop.root)
    (laid_over,) = Planner(config).plan()
    shop.experiment("main", set={"split": {"lambda": 0.5}})
    assert {name: stage.key for name, stage in laid_over.stages.items()} == {
        name: stage.key for name, stage in shop.run().stages.items()
    }


def test_an_experiment_that_the_override_does_not_meet_stays_itself(shop):
    shop.experiment("plain", "source-only")
    assert names(shop, "set.split.lambda=0.5") == ["main+split.lambda=0.5", "plain"]
    with pytest.raises(ConfigError, match=r"--config: set\.splitt: no stage and no kind of that name"):
        names(shop, "set.splitt.lambda=0.5")


def test_what_config_yaml_sets_is_no_override_but_a_file_beside_the_suite_is(shop):
    shop.settings(set={"split": {"lambda": 0.5}})
    assert names(shop) == ["main"]
    shop.write(".", "short", {"set": {"train": {"steps": 20}}})
    assert names(shop, files=[shop.root / "short.yaml"]) == ["main+train.steps=20"]


def test_text_and_values_that_were_read_as_yaml_have_one_name(shop):
    dotted = names(shop, "set.split.lambda=0.5")
    assert (
        names(shop, "set={split: {lambda: 0.5}}") == names(shop, 'set={"split": {"lambda": "0.5"}}') == dotted
    )


VALUES = [[1, 2], [12], "A", "a", "a/b", "a-b", -1, 1, True, "../x", "x" * 300, "x" * 301, "ü", ""]


def test_names_are_safe_and_different_for_different_values(shop):
    found = set()
    constraint = re.search(r'experiment=r"(.+)"', SNAKEFILE.read_text())
    assert constraint is not None
    for value in VALUES:
        config = load_config(overrides={"set": {"split": {"lambda": value}}}, root=shop.root)
        (experiment,) = overridden(config).experiments.values()
        assert re.fullmatch(constraint[1], experiment.name) and len(experiment.name) <= 200
        assert experiment.plain_name == "main"
        found.add(experiment.name)
    assert len(found) == len(VALUES)


def test_an_override_leaves_the_files_of_the_experiment_itself(here):
    Plan(load_config()).write()
    path = Path("results/stages/experiment-main-seed0.json")
    before = path.read_bytes()
    Plan(load_config(overrides=parse_assignments(["set.split.lambda=0.5"]))).write()
    assert path.read_bytes() == before
    assert Path("results/stages/experiment-main+split.lambda=0.5-seed0.json").is_file()
    report = json.loads(Path("results/stages/report-shop.json").read_text())
    assert [run["experiment"] for run in report["runs"]] == ["main+split.lambda=0.5"]


def finished(run):
    """Leave the figures of a run, as its folder has them."""
    keys = {name: stage.key for name, stage in run.stages.items()}
    write_json(
        Path("results/experiments") / run.experiment / f"seed{run.seed}" / "metrics.json", {"keys": keys}
    )


def test_links_that_will_move_are_told_with_their_names(here):
    finished(here.run())
    assert list(moves(here.runs())) == []
    here.experiment("main", set={"split": {"lambda": 0.5}})
    (line,) = moves(here.runs())
    assert line.startswith("results/experiments/main/seed0: ") and "shop.yaml" in line
    assert "(split, labels, intra)" in line


def test_a_folder_of_another_suites_experiment_is_not_taken(here):
    Plan(load_config()).write()
    here.write(".", "copy", {"experiments": {"main": here.experiments["main"] | {"recipe": "advent"}}})
    config = load_config(["config/copy.yaml"])
    runs = Planner(config).plan()
    with pytest.raises(
        ConfigError, match=r"config/copy\.yaml: experiments\.main: .* is that of config/shop\.yaml"
    ):
        check_taken(config, runs)
    Path("config/shop.yaml").rename("config/other-name.yaml")
    check_taken(config, runs)
