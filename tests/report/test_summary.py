"""The card of a task: the best row, source stages included, what it is measured against, and what to do next."""

from dataclasses import replace

import pytest
from made_up_results import chain, without_labels

from pipeline.report.comparison import rows_of
from pipeline.report.model import ReportData, Taken
from pipeline.report.summary import summary_view
from pipeline.report.terminal import text_table


def card(*experiments):
    data = ReportData(tuple(experiments))
    return summary_view(data, "streets", rows_of(data, list(experiments)))


def todo(view):
    return "\n".join(f"{text}: {command}" for text, command in view["next"])


def test_an_adapted_last_stage_is_the_best_with_its_gain_over_its_source_stage():
    view = card(chain("one", {"source": [40.0, 42.0], "inter": [44.0, 47.0]}))
    assert (view["figure"], view["best"]) == ("mIoU 45.50 ± 2.12 %", "one / inter")
    assert (view["gain"], view["pairs"], view["baseline"]) == (
        "+4.50 ± 0.71",
        "2 pairs of seeds",
        "one / source",
    )
    assert view["beside"] == [] and "predict --model results/experiments/one/seed0/model" in todo(view)


def test_a_source_stage_that_no_adaptation_beats_is_the_best_and_called_so():
    """The adapted stage is compared with it by seed, though it belongs to another experiment."""
    other = chain("plus", {"source": [45.0, 46.0]})
    view = card(chain("one", {"source": [40.0, 42.0], "inter": [44.0, 44.5]}), other)
    assert view["best"] == "plus / source" and view["figure"] == "mIoU 45.50 ± 0.71 %"
    assert view["beside"] == [
        "It is a source stage: no adaptation beats it.",
        "The best adapted stage is one / inter, 44.25 ± 0.35: -1.25 ± 0.35 against the best, 2 pairs of seeds.",
    ]
    assert "strong: {recipe: strong}" in todo(view)


def test_a_difference_within_the_spread_over_seeds_is_said_so():
    """-1, +1, -1.5: mean -0.5, two standard errors 1.53; of three equal differences none is unclear."""
    view = card(chain("one", {"source": [45.0, 45.0, 45.0], "inter": [44.0, 46.0, 43.5]}))
    assert view["beside"][1].endswith(
        ": -0.50 ± 1.32 against the best, 3 pairs of seeds, not clear of their spread."
    )
    view = card(chain("one", {"source": [45.0, 45.0, 45.0], "inter": [44.0, 44.0, 44.0]}))
    assert view["beside"][1].endswith("3 pairs of seeds.")


def test_a_source_stage_of_the_same_chain_has_no_model_folder_of_its_own_unless_the_guard_took_it():
    worse = chain("one", {"source": [46.0], "inter": [44.0]})
    view = card(worse)
    assert view["best"] == "one / source" and view["gain"] == ""
    assert "seed0/model holds inter; found no recipe that ends with source" in todo(view)
    values = {"source": 0.8, "inter": 0.7}
    taken = Taken(0, "source", "source", "inter", "uncertainty_coefficient", values)
    assert "predict --model results/experiments/one/seed0/model" in todo(card(replace(worse, taken=(taken,))))


def test_an_earlier_adapted_stage_is_said_to_be_no_last_one():
    view = card(chain("one", {"source": [40.0], "inter": [47.0], "intra": [46.0]}))
    assert view["best"] == "one / inter" and view["gain"] == "+7.00"
    assert view["beside"] == [
        "It is not the last of its chain: intra has 46.00: -1.00 against the best, 1 pair of seeds."
    ]
    assert "leave out what comes after inter" in todo(view)


def test_a_best_stage_that_model_does_not_hold_has_the_line_that_gives_it_or_the_place_of_its_weights():
    one = chain("one", {"source": [40.0], "inter": [47.0], "intra": [46.0]}, links={"inter": "2-inter"})
    line = "one-inter: {recipe: mean-teacher}"
    known = replace(one, endings={"inter": line, "source": "one-source: {recipe: source-plus}"})
    said = "results/experiments/one/seed0/model holds intra; "
    assert f"{said}for inter, already trained, add to the suite and start again: {line}" in todo(card(known))
    weights = "its weights: results/experiments/one/seed0/2-inter/snapshots"
    assert f"{said}found no recipe that ends with inter; {weights}" in todo(card(one))
    text = text_table(ReportData((known,), suite="drive"))
    assert (
        f"\none / inter is the best; {said}for inter, already trained, add to config/drive.yaml and start again: {line}\n"
        in text
    )
    assert "is the best" not in text_table(ReportData((chain("one", {"source": [40.0], "inter": [47.0]}),)))


def test_alone_a_source_stage_asks_for_an_adaptation():
    view = card(chain("one", {"source": [40.0]}))
    assert view["beside"] == ["It is a source stage."] and "adapted: {recipe: strong}" in todo(view)


def test_rows_that_used_target_labels_are_named_as_the_reason():
    view = card(chain("oracle", {"source": [90.0]}, target_labels=True))
    assert view["best"] is None and view["none"] == "every row used labels of the target"


def unlabelled(title, figures):
    """A chain without scores; figures by stage: entropy and information maximisation."""
    return without_labels(chain(title, {name: [1.0] for name in figures}), figures)


def test_without_labels_the_surest_row_is_chosen_and_called_a_guess():
    """Coefficients: source 0.6 / 0.8, inter 0.68 / 0.8; a collapsed one counts as 0.8 * 0.8 diverse: 0.3 / 0.64."""
    one = unlabelled("one", {"source": (0.2, 0.6), "inter": (0.12, 0.68)})
    collapsed = unlabelled("two", {"source": (0.2, 0.6), "inter": (0.01, 0.3)})
    view = card(one, collapsed)
    assert view["figure"] == "" and view["best"] == "one / inter"
    assert view["guess"].startswith("uncertainty coefficient 0.85 on unlabelled target images")
    assert view["guess"].endswith("; its source stage: 0.75") and "it is a guess" in todo(view)
    assert card(collapsed)["best"] == "two / source"


def guarded(stage, source, inter):
    """A chain whose guard took `stage`; entropy and information maximisation of both."""
    values = {"source": 0.5, "inter": 0.5}
    taken = Taken(0, stage, "source", "inter", "uncertainty_coefficient", values)
    return replace(unlabelled("one", {"source": source, "inter": inter}), taken=(taken,))


def test_without_labels_the_headline_says_what_was_taken_and_why():
    """Coefficients 0.75, 0.85, and 0.72 / 0.98."""
    source, better, worse = (0.2, 0.6), (0.12, 0.68), (0.26, 0.72)
    by = "by label-free criterion"
    assert card(guarded("inter", source, better))["headline"] == f"adapted, {by} 0.85 against 0.75"
    assert card(guarded("source", source, worse))["headline"] == f"source-only, {by} 0.75 against 0.73"
    assert card(guarded("inter", source, worse))["headline"].endswith(
        "0.73 against 0.75, within the margin of 0.05"
    )
    free = replace(guarded("inter", source, better), taken=())
    assert card(free)["headline"] == "adapted, without a guard; label-free criterion 0.85 against 0.75"
    assert card(unlabelled("one", {"source": source}))["headline"] == "source-only, nothing is adapted"
    surer = replace(unlabelled("two", {"source": (0.01, 0.9)}), name="two")
    assert card(guarded("inter", source, better), surer)["headline"].startswith("one: adapted, ")
    assert card(guarded("inter", source, better), surer)["best"] == "two / source"


def test_without_labels_and_at_a_tie_the_stage_is_chosen_whose_model_is_taken_away():
    """Else an experiment that ends with the best stage would leave the hint that asked for it."""
    figures = {"source": (0.2, 0.6), "inter": (0.12, 0.68)}
    longer = unlabelled("one", {**figures, "intra": (0.3, 0.5)})
    assert card(longer)["best"] == "one / inter"
    assert card(longer, unlabelled("one-inter", figures))["best"] == "one-inter / inter"


@pytest.mark.parametrize("figures", [{}, {"mean entropy": 0.1}])
def test_without_labels_and_figures_nothing_is_chosen(figures):
    item = chain("one", {"source": [40.0]})
    runs = tuple(replace(run, scores={}, label_free_figures=figures) for run in item.runs)
    view = card(replace(item, runs=runs))
    assert (view["best"], view["none"]) == (None, "no figures") and "suggest --experiment one" in todo(view)
