"""Lines for experiments that end with an earlier stage: they plan the very same stages."""

import pytest
import yaml
from shop import STEPS, keys_by_name

CROPPED = {"augmentation": {domain: {"crop": [32, 24]} for domain in ("source", "target", "labelled")}}
"""`strong` resizes each image by itself."""


def ends_alike(shop, run, stage):
    """Add a run's line for a stage to its suite, and compare the stages' keys; gives the line."""
    line = run.endings[stage]
    ((name, entry),) = yaml.safe_load(line).items()
    shop.suite({**shop.experiments, name: entry}, task="tiny", network="small", seeds=[0])
    shorter = shop.run(only=name)
    assert shorter.final == stage and shorter.source_only is None
    assert keys_by_name(shorter).items() <= keys_by_name(run).items()
    return line


def test_a_recipe_below_the_chain_ends_with_its_earlier_stage(shop):
    shared = {"train": {"steps": 10} | CROPPED, "inter": {"steps": 7}, "intra": {"steps": 5}}
    shop.suite({"main": {"recipe": "strong"}}, task="tiny", network="small", set=shared)
    run = shop.run()
    assert run.endings == {
        "source": "main-source: {recipe: source-plus}",
        "inter": "main-inter: {recipe: mean-teacher}",
        "intra": "main-intra: {recipe: intrada-plus}",
    }


def test_the_line_has_the_experiments_own_settings_as_far_as_the_recipe_has_the_stages(shop):
    own = {"train": {"batch": 4} | CROPPED, "inter": {"steps": 7}, "intra": {"steps": 5}}
    shop.experiment("main", "strong", set=own, seeds=[1])
    run = shop.run()
    line = ends_alike(shop, run, "inter")
    assert line == (
        "main-inter: {recipe: mean-teacher, task: tiny, network: small, seeds: [1], "
        "set: {train: {steps: 10, batch: 4, augmentation: {source: {crop: [32, 24]}, target: {crop: [32, 24]}, "
        "labelled: {crop: [32, 24]}}}, inter: {steps: 7}}}"
    )


@pytest.mark.parametrize(("recipe", "stage"), [("intrada", "inter"), ("cbst", "source")])
def test_recipes_that_are_not_laid_over_one_another_are_found_too(shop, recipe, stage):
    shop.experiment("main", recipe)
    ends_alike(shop, shop.run(), stage)


def test_another_stage_of_the_same_name_is_none(shop):
    shop.edit("recipes", "strong", stages={"inter": {"logit_adjustment": 0.1}})
    shop.experiment("main", "strong", set={"train": CROPPED})
    assert list(shop.run().endings) == ["source"]


def test_a_damaged_recipe_that_nobody_uses_is_passed_over(shop):
    shop.write("recipes", "aaa", {"title": "no stages"})
    shop.experiment("main", "strong", set={"train": CROPPED})
    assert "inter" in shop.run().endings


def test_a_recipe_with_a_guard_may_hold_another_stage_and_is_passed_over(shop):
    shop.write("recipes", "aaa", {"title": "guarded", "base": "mean-teacher", "guard": True})
    shop.experiment("main", "strong", set={"train": CROPPED})
    assert "recipe: mean-teacher" in shop.run().endings["inter"]


def test_a_chain_of_one_training_and_one_with_labels_of_its_own_have_none(shop):
    shop.experiment("main", "source-only")
    assert shop.run().endings == {}
    few = {"method": "supervised", "init": "source", "objective": {"labelled_weight": 1.0}}
    shop.write("recipes", "few", {"title": "few", "stages": {"source": {"method": "supervised"}, "few": few}})
    shop.suite({"main": {"recipe": "few"}}, labelled={"count": 2}, task="tiny", network="small", set=STEPS)
    assert list(shop.run().endings) == ["source"]
    shop.experiment("main", "few", labelled={"count": 2})
    assert shop.run().endings == {}
