"""What the guard took, in the tables and on the page, beside the truth."""

from dataclasses import replace

import pytest
from made_up_results import chain
from test_page import Balance

from pipeline.report.guard import LEAST_DIVERSITY, Answers, uncertainty_coefficient
from pipeline.report.guard_tables import taken_table
from pipeline.report.model import ReportData, Taken
from pipeline.report.page import render
from pipeline.report.tables import results_table, write_tables
from pipeline.report.terminal import text_table


def taken(seed, stage, adapted):
    return Taken(seed, stage, "source", "inter", "uncertainty_coefficient", {"source": 0.5, "inter": adapted})


@pytest.fixture(scope="module")
def data():
    """Seed 0 keeps the adapted model, rightly; seed 1 takes source-only, rightly; seed 2 too, wrongly."""
    choices = (taken(0, "inter", 0.6), taken(1, "source", 0.25), taken(2, "source", 0.4))
    guarded = chain("guarded", {"source": [40.0, 42.0, 44.0], "inter": [46.0, 32.0, 45.0]}, taken=choices)
    return ReportData((guarded, chain("free", {"source": [40.0], "inter": [44.0]})))


def test_the_headline_stays_and_what_was_taken_stands_beside_it(data):
    table = results_table(data).set_index(["experiment", "stage"])
    adapted = table.loc[("guarded", "inter")]
    assert adapted["last_mean"] == pytest.approx(41.0)
    assert adapted["taken_mean"] == pytest.approx(44.0)
    assert table.drop([("guarded", "inter")])["taken_mean"].isna().all()


def test_a_network_that_unlearns_rare_classes_is_better_and_a_collapsed_one_is_not():
    """Entropy and information; source-only finds many classes, and is unsure."""
    source_only, adapted = Answers(0.18, 0.60), Answers(0.15, 0.57)
    sure_of_two_classes, constant = Answers(0.01, 0.28), Answers(0.3, 0.0)
    least = LEAST_DIVERSITY * source_only.diversity
    values = [uncertainty_coefficient(one, least) for one in (adapted, sure_of_two_classes, constant)]
    assert uncertainty_coefficient(source_only) == pytest.approx(0.60 / 0.78)
    assert values == pytest.approx([0.57 / 0.72, 0.28 / 0.624, 0.0])
    assert values[1] < uncertainty_coefficient(source_only) < values[0]
    assert uncertainty_coefficient(Answers(0.0, 0.0)) == 0.0


def test_the_choice_is_judged_where_labels_are(data):
    assert taken_table(data)["right"].tolist() == [True, True, False]
    unlabelled = replace(
        data.experiments[0], runs=tuple(replace(run, scores={}) for run in data.experiments[0].runs)
    )
    assert taken_table(ReportData((unlabelled,)))["right"].tolist() == [None, None, None]
    assert "guard: right" not in text_table(ReportData((unlabelled,)))


def test_the_terminal_names_every_swap(data):
    text = text_table(data)
    loud = [line for line in text.splitlines() if "MADE THINGS WORSE" in line]
    assert [line.partition(":")[0] for line in loud] == ["guarded/seed1", "guarded/seed2"]
    assert "0.2500 for inter and 0.5000 for source; model/ holds source (the labels agree)" in loud[0]
    assert "(the labels say otherwise)" in loud[1]
    assert "guard: right in 2 of 3 choices" in text
    assert "44.00 ± 2.00" in text


def test_without_a_guard_nothing_is_said_of_it(data):
    free = ReportData(data.experiments[1:])
    assert "taken" not in text_table(free) and "guard" not in text_table(free)
    assert "Guard" not in render(free) and "Taken" not in render(free)


def test_the_page_says_it_first_and_judges_each_choice(data):
    page = render(data)
    assert page.index("Adaptation seems to have made things worse") < page.index('<section class="task"')
    balance = Balance()
    balance.feed(page)
    assert not balance.wrong and not balance.open
    guard = page[page.index("<h3>Guard</h3>") :]
    assert guard.count(">right<") == 2 and guard.count(">wrong<") == 1


def test_the_choices_are_written_as_a_table(data, tmp_path):
    write_tables(data, tmp_path)
    lines = (tmp_path / "taken.csv").read_text().splitlines()
    assert lines[0].startswith("experiment,seed,test_mode,criterion,source_only,source_only_value,adapted")
    assert lines[2].endswith("source,42.0000,32.0000,True")
