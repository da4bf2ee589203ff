"""The names under which keys hash a stage's parents: frozen, for another name is another key."""

from pathlib import Path

import pytest

from pipeline.datasets.taxonomy import Taxonomy
from pipeline.plan.finished import Finished
from pipeline.plan.stage import Inputs, PlannedDomain, Stage, StageSettings, hashed_roles, make_stage
from pipeline.stages.kinds import KINDS
from pipeline.stages.parameters import (
    EvaluateParameters,
    PseudolabelParameters,
    RankParameters,
    SelectParameters,
    SplitParameters,
    SuggestParameters,
)
from pipeline.stages.record import DomainRef
from pipeline.stages.results import Results
from pipeline.training.parameters import RunSettings, TrainParameters

PARAMETERS = {
    "train": TrainParameters.model_validate({"method": "advent", "steps": 7}),
    "rank": RankParameters(snapshot="label_free"),
    "split": SplitParameters(),
    "pseudolabel": PseudolabelParameters(),
    "select": SelectParameters(),
    "evaluate": EvaluateParameters(),
    "suggest": SuggestParameters(count=3),
}


TAXONOMY = Taxonomy.of_parts({"classes": ["road", "sky"], "rare": ["sky"]})
SETTINGS = StageSettings(RunSettings(), TAXONOMY, Finished(Results(Path("nowhere"))), seed=0)


def made(kind: str, inputs: Inputs) -> Stage:
    """A stage of that kind."""
    return make_stage(KINDS[kind], kind, PARAMETERS[kind], inputs, SETTINGS)


def parent(number: int) -> Stage:
    """A stage without parents of its own; of a parent only the digest is hashed, whatever its kind."""
    return make_stage(KINDS["suggest"], "parent", SuggestParameters(count=number), Inputs(), SETTINGS)


ONE, TWO, SPLIT, LABELS, MODEL, SELECT, RANKING = map(parent, range(1, 8))
EASY = PlannedDomain((ONE,), split=SPLIT, part="easy")
CASES = {
    "a training's start, two sources, and the part of a split": (
        "train",
        Inputs({"init": MODEL}, {"source": PlannedDomain((ONE, TWO)), "target": EASY}),
        ["source", "source.2", "target", "target_part", "init"],
        "b8ae895a1fa3",
    ),
    "a start chosen without labels, and pseudo-labels": (
        "train",
        Inputs({"init": MODEL}, {"source": PlannedDomain((ONE,), labels=LABELS)}, SELECT),
        ["source", "source_labels", "init", "init_select"],
        "ad2546a19097",
    ),
    "a ranked model chosen without labels": (
        "rank",
        Inputs({"model": MODEL}, {"images": PlannedDomain((ONE,))}, SELECT),
        ["images", "model", "model_select"],
        "11a262651749",
    ),
    "images of a part": (
        "pseudolabel",
        Inputs({"ranking": RANKING}, {"images": EASY}),
        ["images", "images_part", "ranking"],
        "ec02d6ef8b06",
    ),
    "figures": (
        "evaluate",
        Inputs({"model": MODEL, "select": SELECT}, {"data": PlannedDomain((ONE,))}),
        ["data", "model", "select"],
        "fecddd2960aa",
    ),
    "labels of several stages": (
        "suggest",
        Inputs(
            {"ranking": RANKING, "model": MODEL},
            {"images": PlannedDomain((ONE,)), "labelled": PlannedDomain((ONE, TWO))},
        ),
        ["images", "labelled", "labelled.2", "ranking", "model"],
        "792d116de807",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_roles_and_keys_are_as_they_were(case):
    kind, inputs, roles, digest = CASES[case]
    stage = made(kind, inputs)
    assert list(stage.parents) == roles
    assert stage.record.hashed["parents"] == {role: parent.digest for role, parent in stage.parents.items()}
    assert stage.key == f"{kind}-{digest}"


def test_a_part_is_hashed_as_a_parameter():
    assert made("pseudolabel", CASES["images of a part"][1]).record.hashed["parameters"] == {
        "images_part": "easy"
    }


def test_a_record_names_its_domains_by_the_same_roles():
    stage = made("train", CASES["a training's start, two sources, and the part of a split"][1])
    assert stage.record.domains == {
        "source": DomainRef(caches=("source", "source.2")),
        "target": DomainRef(caches=("target",), split="target_part", part="easy"),
    }
    assert {role: one.key for role, one in stage.record.parents.items()} == {
        role: one.key for role, one in stage.parents.items()
    }


def test_only_a_start_that_was_chosen_has_a_selection():
    with_one = CASES["a ranked model chosen without labels"][1]
    assert hashed_roles(KINDS["rank"], with_one).selection == "model_select"
    without = Inputs(with_one.references, with_one.domains)
    assert hashed_roles(KINDS["rank"], without).selection is None
