"""The page of a task without labels: what was taken, its figures, no empty columns, and its pictures."""

import re
from dataclasses import replace

import pytest
from made_up_results import answers, chain, gallery
from test_page import Balance, embedded, table_of

from pipeline.report.model import ReportData, Taken
from pipeline.report.page import render

FIGURES = {"source": (0.2, 0.6), "inter": (0.12, 0.68), "intra": (0.14, 0.66)}


def unlabelled(name, stages, seeds=2, **changes):
    """A chain whose second seed has not run; with answers to pictures of the first."""
    item = chain(name, {stage: [1.0, *[None] * (seeds - 1)] for stage in stages}, **changes)
    runs = tuple(
        replace(
            run,
            scores={},
            snapshots=None,
            answers=answers(0),
            label_free_figures=dict(
                zip(("entropy", "information_maximisation"), FIGURES[run.stage], strict=True)
            ),
        )
        for run in item.runs
    )
    pictures = tuple(replace(one, label=None) for one in gallery())
    return replace(item, runs=runs, gallery=pictures)


@pytest.fixture(scope="module")
def data():
    """The guard took the last stage of `drive`; of `alone` there is a source stage, as sure."""
    values = {"source": 0.75, "intra": 0.825}
    taken = (Taken(0, "intra", "source", "intra", "uncertainty_coefficient", values),)
    return ReportData((unlabelled("drive", FIGURES, taken=taken), unlabelled("alone", ["source"])))


@pytest.fixture(scope="module")
def page(data):
    return render(data)


def cells(line):
    return [
        re.sub(r"<.*?>", " ", one).split() for one in re.findall(r"<t[hd][ >].*?</t[hd]>", line, re.DOTALL)
    ]


def test_the_comparison_has_the_figures_that_need_no_labels_and_no_empty_column(page):
    table = table_of(page, "compare")
    head, *lines = [cells(line) for line in re.findall(r"<tr.*?</tr>", table, re.DOTALL)]
    assert [" ".join(one) for one in head] == [
        "experiment",
        "uncertainty coefficient (high)",
        "entropy (low: sure)",
        "information maximisation (high)",
        "seeds",
        "method",
    ]
    assert lines[1] == [
        ["drive", "inter"],
        ["0.8500"],
        ["0.1200"],
        ["0.6800"],
        ["1", "of", "2"],
        ["advent"],
    ]
    assert all(all(line) for line in lines) and len(lines) == 4
    assert "gains over" not in page and "at the labels' own size" not in page


def test_the_summary_begins_with_what_was_taken(page):
    summary = page[page.index('class="card"') : page.index("How to read the figures")]
    assert '<div class="big">drive: adapted, by label-free criterion 0.82 against 0.75</div>' in summary
    assert "<b>drive / inter</b>" in summary and "its source stage: 0.75" in summary


def test_the_guards_table_has_no_columns_for_labels(page):
    guard = page[page.index("<h3>Guard</h3>") :].partition("</table>")[0]
    assert (
        "mIoU" not in guard
        and "choice" not in guard
        and guard.count("<th>") + guard.count("<th ") == guard.count("<td") == 6
    )


@pytest.mark.parametrize("stage", ["intra", "source"])
def test_pictures_begin_with_source_only_beside_the_stage_that_the_guard_judged(data, stage):
    """Not with what stands last on the page, the source stage of another experiment."""
    drive, alone = data.experiments
    text = render(ReportData((alone, replace(drive, taken=(replace(drive.taken[0], stage=stage),)))))
    shown = text[text.index('class="gallery"') : text.index('class="pairs"')]
    names = re.findall(r"<option value=\"map:\d+\" selected>(.*?)</option>", shown)
    assert names == ["drive / source", "drive / intra"]


def test_the_page_is_well_formed(page):
    balance = Balance()
    balance.feed(page)
    assert not balance.wrong and not balance.open
    assert len(embedded(page)["tasks"][0]["rows"]) == 4
