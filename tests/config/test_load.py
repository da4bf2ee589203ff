import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import load_config, parse_assignments
from pipeline.plan.planner import Planner

ROOT = Path(__file__).parents[2] / "config"


@pytest.fixture
def root(tmp_path):
    return Path(shutil.copytree(ROOT, tmp_path / "config"))


def edit(path, **changes):
    values = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def complaint(root, files=(), overrides=None):
    with pytest.raises(ConfigError) as error:
        Planner(load_config(files, overrides, root)).plan()
    return str(error.value)


def test_the_shipped_configuration_is_valid(root):
    assert list(load_config(root=root).experiments) == ["demo"]


def test_an_unknown_key_names_file_key_and_nearest(root):
    edit(root / "experiments" / "demo.yaml", netwrk="small")
    text = complaint(root)
    assert "demo.yaml" in text and "netwrk: unknown key" in text and "did you mean `network`?" in text


def test_an_unknown_stage_parameter_names_the_nearest(root):
    edit(root / "experiments" / "demo.yaml", set={"source": {"stepz": 3}})
    text = complaint(root)
    assert "stepz: unknown key" in text and "did you mean `steps`?" in text


def test_an_unknown_stage_in_set_names_the_valid_ones(root):
    edit(root / "experiments" / "demo.yaml", set={"sorce": {"steps": 3}})
    assert "set.sorce: no stage and no kind of that name; did you mean `source`?" in complaint(root)


@pytest.mark.parametrize(
    ("key", "folder"), [("task", "tasks"), ("recipe", "recipes"), ("network", "networks")]
)
def test_a_name_without_a_file_names_the_nearest(root, key, folder):
    right = yaml.safe_load((root / "experiments" / "demo.yaml").read_text())[key]
    edit(root / "experiments" / "demo.yaml", **{key: right + "x"})
    text = complaint(root)
    assert f"{folder}/{right}x.yaml" in text and f"did you mean `{right}`?" in text


def test_a_wrong_value_says_what_was_found_and_what_is_taken(root):
    edit(
        root / "experiments" / "demo.yaml",
        set={"train": {"steps": 5, "snapshots": 1}, "split": {"lambda": 1.5}},
    )
    text = complaint(root)
    assert "lambda: found 1.5" in text and "less than or equal to 1" in text


def test_duplicate_keys_of_the_given_files_are_refused(root, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("experiments: [demo]\nexperiments: [demo]\n")
    assert "given twice" in complaint(root, [overlay])


def test_overlays_replace_lists_and_texts_are_parsed_by_type(root, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("run: {threads: 3}\n")
    config = load_config(
        [overlay], {"experiments": "demo", "run.workers": "4", "run": {"log_every": "7"}}, root
    )
    assert config.settings.run.threads == 3
    assert config.settings.run.workers == 4
    assert config.settings.run.log_every == 7


@pytest.mark.parametrize(("text", "value"), [("False", False), ("false", False), ("True", True)])
def test_a_switch_given_as_text_means_what_it_says(root, text, value):
    edit(root / "networks" / "small.yaml", align_corners=text)
    assert load_config(root=root).library.network("small", "test").align_corners is value


def test_a_switch_that_is_neither_on_nor_off_is_refused(root):
    edit(root / "networks" / "small.yaml", align_corners="sometimes")
    assert "align_corners: found 'sometimes'" in complaint(root)


def test_assignments_nest_at_dots():
    assert parse_assignments(["run.device=cpu", "experiments=[a, b]"]) == {
        "run": {"device": "cpu"},
        "experiments": ["a", "b"],
    }
    with pytest.raises(ConfigError, match="needs key=value"):
        parse_assignments(["nonsense"])


def test_evaluation_images_may_not_be_target_training_images(root):
    task = root / "tasks" / "streets.yaml"
    values = yaml.safe_load(task.read_text())
    values["evaluate"] = dict(values["target"])
    task.write_text(yaml.safe_dump(values, sort_keys=False))
    assert "in both the target split" in complaint(root)


def test_a_domain_that_the_method_does_not_read_is_refused(root):
    recipe = root / "recipes" / "source-only.yaml"
    edit(recipe, stages={"source": {"method": "supervised", "target": "task.target"}})
    edit(root / "experiments" / "demo.yaml", recipe="source-only", set={"source": {"steps": 5}})
    assert "does not read this domain" in complaint(root)


def test_a_reference_to_no_stage_names_the_nearest(root):
    recipe = root / "recipes" / "intrada.yaml"
    values = yaml.safe_load(recipe.read_text())
    values["stages"]["inter"]["init"] = "sourc"
    recipe.write_text(yaml.safe_dump(values, sort_keys=False))
    assert "stages.inter.init: found 'sourc', which is no earlier stage; did you mean `source`?" in complaint(
        root
    )
