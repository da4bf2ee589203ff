"""Loading: files and overrides laid over one another, what is selected, and mistakes named by file and key."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import Library, load_config, parse_assignments
from pipeline.plan.planner import Planner

ROOT = Path(__file__).parents[2] / "config"


@pytest.fixture
def root(tmp_path):
    return Path(shutil.copytree(ROOT, tmp_path / "config"))


def edit(path, **changes):
    values = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def edit_demo(root, **changes):
    """Change what the suite `demo` says of its experiment."""
    edit(root / "demo.yaml", experiments={"demo": {"recipe": "intrada", **changes}})


def suite(path, **content):
    shared = {"task": "streets", "network": "small", "recipe": "source-only"}
    path.write_text(json.dumps({**shared, "set": {"source": {"steps": 5}}, **content}))
    return path


def complaint(root, files=(), overrides=None):
    with pytest.raises(ConfigError) as error:
        Planner(load_config(files, overrides, root)).plan()
    return str(error.value)


def test_the_default_suite_is_the_one_that_config_names(root):
    assert list(load_config(root=root).experiments) == ["demo"]
    edit(root / "config.yaml", suite="polyps")
    assert "polyps-ass" in load_config(root=root).experiments


def test_a_named_suite_replaces_the_default_one_whole(root, tmp_path):
    path = suite(tmp_path / "mine.yaml", experiments={"mine": {}})
    config = load_config([path], root=root)
    assert list(config.experiments) == ["mine"]
    assert [dict(layer.values) for layer in config.experiments["mine"].layers] == [
        {"source": {"steps": 5}}, {}, {},
    ]  # fmt: skip


def test_several_suites_keep_their_own_shared_blocks(root, tmp_path):
    first = suite(tmp_path / "first.yaml", experiments={"a": {}})
    second = suite(tmp_path / "second.yaml", set={"train": {"steps": 7}}, seeds=[3], experiments={"b": {}})
    a, b = Planner(load_config([first, second], root=root)).plan()
    assert (a.seed, a.stages["source"].parameters.steps) == (0, 5)
    assert (b.seed, b.stages["source"].parameters.steps) == (3, 7)


def test_two_suites_may_not_share_a_name_or_an_experiment(root, tmp_path):
    first = suite(tmp_path / "first.yaml", experiments={"a": {}})
    second = suite(tmp_path / "second.yaml", experiments={"a": {}})
    text = complaint(root, [first, second])
    assert f"{second}: experiments.a: makes an experiment a, and so does {first}: experiments.a" in text
    (tmp_path / "other").mkdir()
    again = suite(tmp_path / "other" / "first.yaml", experiments={"b": {}})
    assert f"{again}: {first} is a suite of that name too" in complaint(root, [first, again])


def test_settings_of_a_suite_lie_over_those_of_config(root, tmp_path):
    path = suite(tmp_path / "mine.yaml", run={"threads": 3}, determinism="fast", experiments={"mine": {}})
    settings = load_config([path], root=root).settings
    assert (settings.run.threads, settings.run.workers, settings.determinism) == (3, None, "fast")
    settings = load_config([path], {"run.threads": "4", "determinism": "exact"}, root).settings
    assert (settings.run.threads, settings.determinism) == (4, "exact")


def test_suites_that_want_different_bits_do_not_run_together(root, tmp_path):
    first = suite(tmp_path / "first.yaml", experiments={"a": {}})
    second = suite(tmp_path / "second.yaml", determinism="fast", experiments={"b": {}})
    assert "determinism: the suites say different things" in complaint(root, [first, second])
    assert load_config([first, second], {"determinism": "fast"}, root).settings.determinism == "fast"


def test_files_of_settings_alone_are_laid_over_one_another(root, tmp_path):
    for name, text in (("one", "run: {threads: 3, workers: 2}\n"), ("two", "run: {threads: 4}\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    config = load_config([one, two], {"run": {"log_every": "7"}}, root)
    run = config.settings.run
    assert (run.threads, run.workers, run.log_every) == (4, 2, 7)
    assert list(config.experiments) == ["demo"]
    path = suite(tmp_path / "mine.yaml", run={"threads": 5, "chunks": 6}, experiments={"mine": {}})
    run = load_config([path, one], root=root).settings.run
    assert (run.threads, run.workers, run.chunks) == (3, 2, 6)


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ({"only": "streets-cbst*"}, {"streets-cbst": (0, 1, 2), "streets-cbst-sp": (0, 1, 2)}),
        ({"only": "streets-st, streets-cbst"}, {"streets-st": (0, 1, 2), "streets-cbst": (0, 1, 2)}),
        ({"only": ["streets-st"], "seeds": "1,2"}, {"streets-st": (1, 2)}),
        ({"only": "[streets-st]", "seeds": 2}, {"streets-st": (2,)}),
    ],
)
def test_only_and_seeds_narrow_a_suite(root, overrides, wanted):
    found = load_config([root / "streets.yaml"], overrides, root).experiments
    assert {name: experiment.seeds for name, experiment in found.items()} == wanted


def test_an_experiment_without_a_wanted_seed_is_left_out(root):
    found = load_config([root / "idda-camvid.yaml"], {"seeds": "1"}, root).experiments
    assert "idda-source" in found and "idda-minent" not in found


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"only": "demo,dmo"}, "only: 'dmo' selects no experiment of {root}/demo.yaml; did you mean `demo`?"),
        ({"only": "x*"}, "only: 'x*' selects no experiment"),
        ({"seeds": "0,7"}, "seeds: 7 selects nothing; the selected experiments have the seeds 0"),
        ({"only": ""}, "--config: only: found ''"),
        ({"seeds": "one"}, "--config: seeds.0: found 'one'"),
        ({"onyl": "demo"}, "--config: onyl: unknown key; did you mean `only`?"),
        ({"only": "["}, "--config: only: found '['"),  # as Snakemake gives what is no YAML
        ({"run": "{threads: *a}"}, "--config: run: found '{{threads: *a}}'"),
        ({"suite": "streest"}, "suite: no {root}/streest.yaml; did you mean `streets`?"),
    ],
)
def test_a_selection_of_nothing_is_refused(root, overrides, message):
    assert message.format(root=root) in complaint(root, overrides=overrides)


def test_without_a_suite_it_says_what_to_do(root):
    edit(root / "config.yaml", suite=None)
    assert "suite: missing; it names the suite that runs, or name one with --configfile" in complaint(root)


def test_an_unknown_stage_parameter_names_place_and_nearest(root):
    edit_demo(root, set={"source": {"stepz": 3}, "train": {"optimiser": {"lrr": 1}}})
    text = complaint(root)
    demo = f"{root}/demo.yaml: experiments.demo.set"
    assert f"{demo}.source.stepz: unknown key; did you mean `steps`?" in text
    assert f"{demo}.train.optimiser.lrr: unknown key" in text


def test_an_unknown_swept_parameter_names_the_sweep(root):
    edit_demo(root, sweep={"split.lamda": [0.5]})
    assert "demo.yaml: experiments.demo.sweep.split.lamda: unknown key; did you mean `lambda`?" in complaint(
        root
    )


def test_an_unknown_stage_names_the_valid_ones(root):
    edit_demo(root, set={"sorce": {"steps": 3}})
    assert (
        "demo.yaml: experiments.demo.set.sorce: no stage and no kind of that name; did you mean `source`?"
        in (complaint(root))
    )


def test_what_is_shared_needs_a_stage_in_some_experiment_of_the_suite(root, tmp_path):
    shared = {"source": {"steps": 5}, "intra": {"steps": 5}}
    path = suite(tmp_path / "mine.yaml", set=shared, experiments={"a": {}})
    assert f"{path}: set.intra: no stage and no kind of that name" in complaint(root, [path])
    steps = {"set": {"inter": {"steps": 5}}}
    suite(path, set=shared, experiments={"a": {}, "b": {"recipe": "intrada", **steps}})
    assert [run.experiment for run in Planner(load_config([path], {"only": "a"}, root)).plan()] == ["a"]


@pytest.mark.parametrize(
    ("key", "folder"), [("task", "tasks"), ("recipe", "recipes"), ("network", "networks")]
)
def test_a_name_without_a_file_names_place_and_nearest(root, key, folder):
    right = {"task": "streets", "recipe": "intrada", "network": "small"}[key]
    edit_demo(root, **{key: right + "x"})
    text = complaint(root)
    assert f"demo.yaml: experiments.demo.{key}: no " in text
    assert f"{folder}/{right}x.yaml" in text and f"did you mean `{right}`?" in text


def test_a_wrong_value_says_where_it_stands_and_what_is_taken(root):
    edit_demo(root, set={"split": {"lambda": 1.5}})
    text = complaint(root)
    assert "experiments.demo.set.split.lambda: found 1.5" in text and "less than or equal to 1" in text
    edit(root / "demo.yaml", set={"train": {"steps": 5, "batch": -1}})
    edit_demo(root)
    assert "demo.yaml: set.train.batch: found -1" in complaint(root)
    edit_demo(root, set={"train": {"batch": -2}}, sweep={"inter.batch": [-3]})
    text = complaint(root)
    assert "demo.yaml: experiments.demo.set.train.batch: found -2" in text
    edit_demo(root, set={"source": {"batch": 1}, "inter": {"batch": -2}}, sweep={"inter.batch": [-3]})
    assert "demo.yaml: experiments.demo.sweep.inter.batch: found -3" in complaint(root)


def test_a_file_whose_folder_was_left_out_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^demo.yaml: no such file; did you mean config/demo.yaml\?"):
        load_config(["demo.yaml"])
    suite(tmp_path / "demo.yaml", experiments={"mine": {}})
    assert list(load_config(["demo.yaml"]).experiments) == ["mine"]


def test_duplicate_keys_of_the_given_files_are_refused(root, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: streets\ntask: streets\n")
    assert "given twice" in complaint(root, [path])


@pytest.mark.parametrize(("text", "value"), [("False", False), ("false", False), ("True", True)])
def test_a_switch_given_as_text_means_what_it_says(root, text, value):
    edit(root / "networks" / "small.yaml", align_corners=text)
    assert load_config(root=root).library.network("small", "test").align_corners is value


def test_a_switch_that_is_neither_on_nor_off_is_refused(root):
    edit(root / "networks" / "small.yaml", align_corners="sometimes")
    assert "align_corners: found 'sometimes'" in complaint(root)


def test_assignments_nest_at_dots():
    assert parse_assignments(["run.device=cpu", "only=[a, b]"]) == {
        "run": {"device": "cpu"},
        "only": ["a", "b"],
    }
    with pytest.raises(ConfigError, match="needs key=value"):
        parse_assignments(["nonsense"])


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("only=[", "not valid YAML"),
        ("run={threads: *a}", "YAML aliases (*name) are not supported"),
        ("set.source={steps: 3, steps: 4}", "key `steps` is given twice"),
        ("set={source: {steps: !!python/object:x {}}}", "not valid YAML"),
        ("set=" + "{a: " * 40 + "}" * 40, "nested deeper than 32 levels"),
    ],
)
def test_an_assignment_in_brackets_is_read_as_strictly_as_a_file(word, complaint):
    with pytest.raises(ConfigError) as error:
        parse_assignments(["run.device=cpu", word])
    assert str(error.value).startswith(f"--config {word}: ") and complaint in str(error.value)


def test_evaluation_images_may_not_be_target_training_images(root):
    task = root / "tasks" / "streets.yaml"
    values = yaml.safe_load(task.read_text())
    values["evaluate"] = dict(values["target"])
    task.write_text(yaml.safe_dump(values, sort_keys=False))
    assert "in both the target split" in complaint(root)


def test_a_domain_that_the_method_does_not_read_is_refused(root):
    recipe = root / "recipes" / "source-only.yaml"
    edit(recipe, stages={"source": {"method": "supervised", "target": "task.target"}})
    edit(root / "demo.yaml", set={"source": {"steps": 5}})
    edit_demo(root, recipe="source-only")
    assert "does not read this domain" in complaint(root)


def test_a_reference_to_no_stage_names_the_nearest(root):
    recipe = root / "recipes" / "mean-teacher.yaml"
    values = yaml.safe_load(recipe.read_text())
    values["stages"]["inter"]["init"] = "sourc"
    recipe.write_text(yaml.safe_dump(values, sort_keys=False))
    assert "stages.inter.init: found 'sourc', which is no earlier stage; did you mean `source`?" in complaint(
        root
    )


def based(root, name, base, **values):
    (root / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump({"title": name, "base": base, **values}))


def test_a_recipe_says_what_it_changes_of_its_base_and_adds_stages_behind(root):
    based(
        root,
        "mine",
        "mean-teacher",
        stages={"inter": {"steps": 7}, "last": {"kind": "rank", "model": "inter"}},
    )
    library = load_config(root=root).library
    base, mine = library.recipe("mean-teacher", "test"), library.recipe("mine", "test")
    assert list(mine.stages) == ["source", "inter", "last"] and mine.title == "mine"
    assert mine.stages["inter"] == {**base.stages["inter"], "steps": 7}
    assert mine.defaults == base.defaults and mine.description == base.description


def test_a_wrong_base_is_named_with_its_file(root):
    based(root, "mine", "mean-teachr")
    edit_demo(root, recipe="mine")
    text = complaint(root)
    assert "recipes/mine.yaml: base: no " in text and "did you mean `mean-teacher`?" in text
    based(root, "mine", "other")
    based(root, "other", "mine")
    assert "other.yaml: base: mine is laid over this recipe" in complaint(root)
    library = Library(root)
    for name in ("mine", "other"):  # a refusal leaves nothing behind that another name would stumble on
        with pytest.raises(ConfigError, match="is laid over this recipe"):
            library.recipe(name, "test")
    based(root, "other", "source-only")
    assert list(library.recipe("mine", "test").stages) == ["source"]
    based(root, "other", "source-only", defaults={"trai": 3})
    assert "recipes/other.yaml: defaults" in complaint(root)
