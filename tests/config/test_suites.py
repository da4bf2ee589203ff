"""Suites: shared blocks, grids, sweeps, names, and what is refused by file and key."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import SuiteFile
from pipeline.config.suites import NAME, Experiment, read_suite

SHARED = {"task": "streets", "network": "small", "recipe": "intrada"}
FILE = Path("config/study.yaml")


def members(entry: Any, key: str = "a", **shared: Any) -> dict[str, Experiment]:
    """The experiments of a suite with one entry."""
    return dict(read_suite(FILE, {**SHARED, **shared, "experiments": {key: entry}}).experiments)


def one(entry: Any, **shared: Any) -> Experiment:
    (found,) = members(entry, **shared).values()
    return found


def refused(content: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        read_suite(FILE, content)
    return str(error.value)


def test_an_experiment_takes_what_it_does_not_say_from_the_shared_block():
    found = one(None, seeds=[0, 1], rounds=2, labelled={"count": 5}, set={"train": {"steps": 3}})
    assert (found.task, found.network, found.recipe, found.seeds) == ("streets", "small", "intrada", (0, 1))
    assert (found.rounds, found.labelled.count) == (2, 5)
    assert [dict(layer.values) for layer in found.layers] == [{"train": {"steps": 3}}, {}, {}]
    assert found.place("rounds") == "config/study.yaml: rounds"


def test_what_an_experiment_says_wins_and_has_a_place():
    found = one(
        {"seeds": [4], "rounds": 1, "labelled": {"count": 6}}, seeds=[0], rounds=2, labelled={"count": 5}
    )
    assert (found.seeds, found.rounds, found.labelled.count) == ((4,), 1, 6)
    assert found.place("rounds") == "config/study.yaml: experiments.a.rounds"
    assert found.given.keys() == {"seeds", "rounds", "labelled"}


def test_one_seed_unless_told():
    assert one({}).seeds == (0,)


@pytest.mark.parametrize(
    ("entry", "key", "names"),
    [
        ({"sweep": {"split.lambda": [0.5, 0.67]}}, "a", ["a-lambda-0.5", "a-lambda-0.67"]),
        ({"sweep": {"split.lambda": [0.5]}}, "a", ["a-lambda-0.5"]),
        ({"sweep": {"split.lambda": [0.5, 0.67]}}, "a-{lambda}-b", ["a-0.5-b", "a-0.67-b"]),
        ({"task": ["streets", "polyps"]}, "a", ["a-streets", "a-polyps"]),
        ({"task": ["streets", "polyps"]}, "{task}-a", ["streets-a", "polyps-a"]),
        ({"task": ["streets"], "recipe": ["advent", "minent"]}, "a", ["a-advent", "a-minent"]),
        (
            {"task": ["s", "p"], "recipe": ["x", "y"], "sweep": {"train.steps": [1]}},
            "a",
            ["a-s-x-steps-1", "a-s-y-steps-1", "a-p-x-steps-1", "a-p-y-steps-1"],
        ),
        (
            {"sweep": {"inter.steps": [1], "intra.steps": [2, 3]}},
            "a",
            ["a-inter-steps-1-intra-steps-2", "a-inter-steps-1-intra-steps-3"],
        ),
        ({"sweep": {"labelled.count": [10, 20]}}, "a-{count}", ["a-10", "a-20"]),
        ({"sweep": {"rounds": [1, 2]}}, "a", ["a-rounds-1", "a-rounds-2"]),
        ({"sweep": {"train.x": [None, True, -1, "1e-4"]}}, "a", ["a-x-null", "a-x-true", "a-x--1", "a-x-1e-4"]),
        ({"sweep": {"train.x": [[320, 240], {"kind": "adamw"}, "lists/A b.txt"]}}, "a",
         ["a-x-320-240", "a-x-kind-adamw", "a-x-lists-a-b.txt"]),
    ],
)  # fmt: skip
def test_members_are_named_by_what_differs(entry, key, names):
    assert list(members(entry, key)) == names


def test_a_swept_value_lies_over_everything_else():
    found = members(
        {"set": {"source": {"steps": 7}}, "sweep": {"train.steps": [5], "labelled.count": [3]}},
        labelled={"seed": "run"},
    )["a-steps-5-count-3"]
    assert found.layers[-1].values == {"train": {"steps": 5}}
    assert found.layers[-1].location == "config/study.yaml: experiments.a.sweep"
    assert (found.labelled.count, found.labelled.seed) == (3, "run")
    assert found.place("labelled") == "config/study.yaml: experiments.a.sweep.labelled.count"


WITHOUT = {"task": "streets", "network": "small"}
REFUSED = {
    "an unknown key": ({**SHARED, "experiments": {"a": {"netwrk": "x"}}},
        "config/study.yaml: experiments.a.netwrk: unknown key; did you mean `network`?"),
    "an unknown shared key": ({**SHARED, "sed": [1], "experiments": {"a": {}}},
        "config/study.yaml: sed: unknown key; did you mean `seeds`?"),
    "no experiments": (SHARED, "config/study.yaml: experiments: missing; network, recipe, task make a file a suite"),
    "misspelt experiments": ({**SHARED, "experimets": {"a": {}}},
        "config/study.yaml: experimets: unknown key; did you mean `experiments`?"),
    "empty experiments": ({**SHARED, "experiments": {}}, "config/study.yaml: experiments: found {}"),
    "no recipe": ({**WITHOUT, "experiments": {"a": {}}}, "config/study.yaml: experiments.a.recipe: missing"),
    "an empty grid": ({**SHARED, "experiments": {"a": {"task": []}}},
        "config/study.yaml: experiments.a.task: found []"),
    "equal names in a grid": ({**SHARED, "network": ["x", "y", "x"], "experiments": {"a": {}}},
        "config/study.yaml: network: 'x' is given twice"),
    "no seeds": ({**SHARED, "seeds": [], "experiments": {"a": {}}}, "config/study.yaml: seeds: found []"),
    "equal seeds": ({**SHARED, "experiments": {"a": {"seeds": [1, 1]}}},
        "config/study.yaml: experiments.a.seeds: 1 is given twice"),
    "an empty sweep": ({**SHARED, "experiments": {"a": {"sweep": {"split.lambda": []}}}},
        "config/study.yaml: experiments.a.sweep.split.lambda: found []"),
    "equal values": ({**SHARED, "experiments": {"a": {"sweep": {"split.lambda": [0.5, 0.50]}}}},
        "config/study.yaml: experiments.a.sweep: split.lambda: 0.5 is given twice"),
    "no parameter": ({**SHARED, "experiments": {"a": {"sweep": {"lambda": [0.5]}}}},
        "config/study.yaml: experiments.a.sweep.lambda: needs a stage or kind and its parameter"),
    "a swept task": ({**SHARED, "experiments": {"a": {"sweep": {"task": ["x"]}}}},
        "experiments.a.sweep.task: needs a stage or kind and its parameter, such as split.lambda; for a grid"),
    "a place for nothing": ({**SHARED, "experiments": {"a-{cuont}": {"sweep": {"labelled.count": [1]}}}},
        "experiments.a-{cuont}: {cuont} is not swept here; did you mean `count`?"),
    "two equal names": ({**SHARED, "experiments": {"a-x-1": {}, "a": {"sweep": {"train.x": [1]}}}},
        "experiments.a: makes an experiment a-x-1, and so does config/study.yaml: experiments.a-x-1; rename one"),
    "values that look alike": ({**SHARED, "experiments": {"a": {"sweep": {"train.x": ["b c", "b-c"]}}}},
        "makes an experiment a-x-b-c, and so does"),
    "a name that is no folder": ({**SHARED, "experiments": {"a b": {}}}, "config/study.yaml: experiments.a b"),
    "a name that is too long": ({**SHARED, "experiments": {"a": {"sweep": {"train.x": ["y" * 130]}}}},
        "needs up to 120 lower-case letters"),
    "too many rounds": ({**SHARED, "experiments": {"a": {"sweep": {"rounds": [1, 101]}}}},
        "config/study.yaml: experiments.a.sweep.rounds: found 101"),
    "an unknown key of labelled": ({**SHARED, "labelled": {"cuont": 3}, "experiments": {"a": {}}},
        "config/study.yaml: labelled.cuont: unknown key; did you mean `count`?"),
    "labelled twice": ({**SHARED, "experiments": {"a": {"labelled": {"count": 3, "names": "x"}}}},
        "config/study.yaml: experiments.a.labelled: give either `count`"),
    "an unknown run setting": ({**SHARED, "run": {"thread": 3}, "experiments": {"a": {}}},
        "config/study.yaml: run.thread: unknown key; did you mean `threads`?"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_file_and_key(what):
    content, message = REFUSED[what]
    assert message in refused(content)


def test_a_suite_whose_name_is_no_folder_is_refused():
    with pytest.raises(ConfigError, match="a folder of the report has the suite's name"):
        read_suite(Path("config/my study.yaml"), {**SHARED, "experiments": {"a": {}}})


@pytest.mark.parametrize("name", ["index.html", "Index.HTML"])
def test_a_suite_is_not_called_like_the_page_of_all_suites(name):
    with pytest.raises(ConfigError, match=f"config/{name}.yaml: {name} is the page that links to all suites"):
        read_suite(Path(f"config/{name}.yaml"), {**SHARED, "experiments": {"a": {}}})


@pytest.mark.parametrize("name", ["index", "report.json", "reports", "index.html.2"])
def test_names_that_only_look_like_files_of_the_report_are_free(name):
    assert read_suite(Path(f"config/{name}.yaml"), {**SHARED, "experiments": {"a": {}}}).name == name


def test_every_shared_key_may_stand_in_an_experiment():
    own = set(SuiteFile.model_fields["experiments"].annotation.__args__[1].model_fields) - {"sweep"}
    assert own == set(SuiteFile.model_fields) - {"experiments", "determinism", "run"}


def test_names_are_words_of_the_workflow():
    text = (Path(__file__).parents[2] / "workflow" / "Snakefile").read_text("utf-8")
    with_overrides = NAME.replace("._-", "._+=-").replace("{0,119}", "*")
    assert f'experiment=r"{with_overrides}"' in text
