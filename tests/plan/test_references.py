"""References between stages and to the task's data: what they give, and what is refused."""

import pytest
from shop import by_key


def roles(run, name):
    """Label (without task and seed) of every parent of a stage by role."""
    return {role: stage.kind for role, stage in run.stages[name].parents.items()}


def recipe(shop, stages, **more):
    shop.write("recipes", "toy", {"title": "toy", "stages": stages, **more})
    shop.experiment("main", "toy")


SOURCE = {"method": "supervised"}
RANKED = {"source": SOURCE, "ranking": {"kind": "rank", "model": "source"}}
SPLIT = RANKED | {"split": {"kind": "split", "ranking": "ranking"}}
LABELS = SPLIT | {"labels": {"kind": "pseudolabel", "ranking": "ranking", "images": "split.easy"}}


def test_source_only_has_no_target_among_its_ancestors(shop):
    shop.experiment("main", "source-only")
    run = shop.run()
    assert roles(run, "source") == {"source": "prepare"}
    assert run.stages["source"].parents["source"].label == "prepare-streets-rendered-train"


@pytest.mark.parametrize("name", ["minent", "advent", "adaptseg", "intrada", "cbst"])
def test_the_target_of_unsupervised_recipes_is_prepared_without_labels(shop, name):
    shop.experiment("main", name)
    target = [
        stage for stage in by_key(shop.runs()).values() if stage.label == "prepare-streets-camera-train"
    ]
    assert [stage.parameters.labels for stage in target] == ["none"]


def test_the_oracle_reads_the_targets_labels_and_says_so(shop):
    shop.experiment("main", "oracle")
    source = shop.run().stages["source"].parents["source"]
    assert (source.label, source.parameters.labels) == ("prepare-streets-camera-train", "working")


def test_intra_trains_on_easy_with_labels_and_on_hard_without(shop):
    intra = shop.run().stages["intra"]
    stages = shop.run().stages
    assert {role: stage.key for role, stage in intra.parents.items()} == {
        "init": stages["inter"].key,
        "source": stages["ranking"].parents["images"].key,
        "source_labels": stages["labels"].key,
        "target": stages["ranking"].parents["images"].key,
        "target_part": stages["split"].key,
    }
    assert intra.record.domains["target"].part == "hard"
    assert stages["labels"].record.domains["images"].part == "easy"


def test_several_sources_are_numbered_roles(shop):
    shop.edit("datasets", "streets-rendered", splits={"more": {"count": 2}})
    parts = [{"dataset": "streets-rendered", "split": split} for split in ("train", "more")]
    shop.edit("tasks", "tiny", source=parts)
    parents = shop.run().stages["source"].parents
    assert {role: stage.label for role, stage in parents.items()} == {
        "source": "prepare-streets-rendered-train",
        "source.2": "prepare-streets-rendered-more",
    }


def test_label_free_adds_the_configured_selection_as_a_parent(shop):
    shop.experiment("main", set={"intra": {"init_snapshot": "label_free"}, "select": {"images": 3}})
    run = shop.run()
    select = run.stages["intra"].parents["init_select"]
    assert select.parents["model"] is run.stages["inter"]
    assert select.parameters.images == 3
    assert select is run.selects["inter"]
    assert "init_select" not in run.stages["inter"].parents


def test_last_snapshots_alone_need_no_selection(shop):
    shop.experiment("main", set={"evaluate": {"snapshots": "last"}})
    run = shop.run()
    assert run.selects == {}
    assert set(run.evaluates["intra"].parents) == {"model", "data"}


def test_without_an_evaluation_split_there_are_label_free_figures_only(shop):
    task = {
        "taxonomy": "camvid11",
        "source": {"dataset": "streets-rendered"},
        "target": {"dataset": "streets-camera"},
    }
    shop.write("tasks", "tiny", task)
    run = shop.run()
    assert run.evaluates == {}
    assert list(run.selects) == ["source", "inter", "intra"]


def test_a_prior_is_made_of_the_source_for_the_targets_size(shop):
    shop.experiment("main", "cbst-sp")
    run = shop.run()
    assert {role: stage.label for role, stage in run.stages["prior"].parents.items()} == {
        "source": "prepare-streets-rendered-train",
        "target": "prepare-streets-camera-train",
    }
    assert run.stages["labels1"].parents["prior"] is run.stages["prior"]


REFUSED = {
    "no stage of that name": (
        {"source": SOURCE, "inter": {"method": "advent", "init": "sourc"}},
        "stages.inter.init: found 'sourc', which is no earlier stage; did you mean `source`?",
    ),
    "a later stage": (
        {"inter": {"method": "advent", "init": "source"}, "source": SOURCE},
        "stages.inter.init: found 'source', which is no earlier stage",
    ),
    "a stage of the wrong kind": (
        RANKED | {"inter": {"method": "advent", "init": "ranking"}},
        "stage `ranking` is of kind rank; needs one of kind train",
    ),
    "a training as a domain": (
        {"source": SOURCE, "inter": {"method": "advent", "source": "source"}},
        "stages.inter.source: found 'source' (a stage of kind train)",
    ),
    "no part of a split": (
        SPLIT | {"intra": {"method": "advent", "target": "split"}},
        "found 'split'; needs split.easy or split.hard",
    ),
    "an unknown part of a split": (
        SPLIT | {"intra": {"method": "advent", "target": "split.medium"}},
        "found 'split.medium'; needs split.easy or split.hard",
    ),
    "a word that is no reference": (
        {"source": SOURCE, "inter": {"method": "advent", "init": 3}},
        "stages.inter.init: found 3; needs the name of a stage or of the task's data",
    ),
    "a domain that the method does not read": (
        {"source": {"method": "supervised", "target": "task.target"}},
        "stages.source.target: method supervised does not read this domain; it reads source",
    ),
    "a ranking without a model": (
        {"source": SOURCE, "ranking": {"kind": "rank"}},
        "stages.ranking.model: missing",
    ),
    "a split without a ranking": (
        {"source": SOURCE, "cut": {"kind": "split"}},
        "stages.cut.ranking: missing",
    ),
    "argmax labels with a model": (
        RANKED | {"labels": {"kind": "pseudolabel", "ranking": "ranking", "model": "source"}},
        "stages.labels.model: `labelling: argmax` does not use it",
    ),
    "thresholds without a model": (
        {"source": SOURCE, "labels": {"kind": "pseudolabel", "labelling": "thresholds"}},
        "stages.labels.model: missing",
    ),
    "self-training without pseudo-labels": (
        {"source": SOURCE, "again": {"method": "self_training", "init": "source"}},
        "method self_training needs a stage of kind pseudolabel here",
    ),
    "an unknown kind": (
        {"source": SOURCE, "labels": {"kind": "pseudolable"}},
        "stages.labels.kind: found 'pseudolable'; did you mean `pseudolabel`?",
    ),
    "a kind that the plan adds itself": (
        {"source": SOURCE, "figures": {"kind": "evaluate", "model": "source"}},
        "stages.figures.kind: found 'evaluate'; valid: ",
    ),
    "a stage called like another kind": (
        {"rank": SOURCE},
        "a stage of kind train may not be called like kind rank",
    ),
    "an unknown method": (
        {"source": {"method": "supervized"}},
        "method: found 'supervized'",
    ),
    "nothing to learn": (
        {"labels": {"kind": "prior"}},
        "no stage of kind train; nothing would be learnt",
    ),
    "labelled images that the task does not choose": (
        {"source": {"method": "supervised", "objective": {"labelled_weight": 1.0}}},
        "this stage uses labelled target images; give `labelled: {count: 20}`",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(shop, what):
    stages, message = REFUSED[what]
    recipe(shop, stages)
    shop.suite({"main": {"task": "tiny", "recipe": "toy", "network": "small"}})
    shop.edit(
        "recipes", "toy", stages={name: {"steps": 10} for name, stage in stages.items() if "method" in stage}
    )
    found = shop.fails()
    assert message in found
    assert "toy.yaml" in found


def test_pseudo_labels_may_stand_in_for_a_source(shop):
    recipe(shop, LABELS | {"intra": {"method": "advent", "source": "labels", "target": "split.hard"}})
    assert shop.run().stages["intra"].parents["source_labels"].kind == "pseudolabel"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"splitt": {}}, "set.splitt: no stage and no kind of that name; did you mean `split`?"),
        ({"prior": {}}, "set.prior: no stage of kind prior can be set here; remove it"),
        (
            {"prepare": {"size": [2, 2]}},
            "set.prepare: no stage of kind prepare can be set here; sizes and the like are keys of the task",
        ),
    ],
)
def test_a_setting_that_is_laid_over_nothing_is_refused(shop, values, message):
    shop.experiment("main", set=values)
    assert message in shop.fails()
    shop.experiment("main")
    assert message in shop.fails(set=values)


def test_a_setting_for_all_may_meet_only_some_experiments(shop):
    shop.experiment("plain", "advent")
    main, plain = shop.runs(only="main,plain", set={"split": {"lambda": 0.5}, "intra": {"steps": 20}})
    assert main.stages["split"].parameters.easy_share == 0.5
    assert plain.stages["inter"].parameters.steps == 10


def test_settings_go_from_the_general_to_the_special(shop):
    """Recipe defaults < the recipe's stage < the experiment by kind < by name < the settings."""
    shop.edit(
        "recipes", "intrada", defaults={"train": {"steps": 1, "batch": 1, "power": 0.1, "snapshots": 1}}
    )
    shop.edit("recipes", "intrada", stages={"inter": {"steps": 2, "batch": 2, "power": 0.2, "snapshots": 2}})
    shop.experiment(
        "main",
        set={"train": {"steps": 3, "batch": 3, "power": 0.3}, "inter": {"steps": 4, "batch": 4}},
    )
    values = shop.run(set={"train": {"steps": 5}}).stages["inter"].parameters
    assert (values.steps, values.batch, values.power, values.snapshots) == (5, 4, 0.3, 2)
