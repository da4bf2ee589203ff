"""The table for a paper: figures by hand, pairs, the test, labels and the three formats."""

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from made_up_results import without_labels
from scipy import stats

from pipeline.__main__ import main
from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.report.model import ReportData
from pipeline.report.paper_table import paper_table
from pipeline.report.table_formats import csv_text, latex, markdown
from pipeline.report.tables import runs_table, write_tables
from pipeline.stages.results import PAGE, Results

FIGURES = {"a": [44.0, 47.0, 47.0], "b": [46.0, 44.0, 45.0]}


@pytest.fixture
def study(make_chain, tmp_path):
    """Two tasks, two recipes, two values of lambda, three seeds; figures differ by task and value."""
    experiments = [
        make_chain(
            f"study-{task}-{recipe}-lambda-{value}",
            {"source": [40.0, 42.0, 44.0], "intra": [one + 10 * value + shift for one in FIGURES[recipe]]},
            task=task,
            recipe=recipe,
            swept={"split.lambda": value},
        )
        for task, shift in (("gta5", 0), ("synthia", 1))
        for recipe in FIGURES
        for value in (0.5, 0.67)
    ]
    write_tables(ReportData(tuple(experiments)), tmp_path)
    return tmp_path


def test_every_swept_parameter_is_a_column_of_the_runs(make_chain):
    one = make_chain("one", {"source": [40.0]}, swept={"split.lambda": 0.5, "rounds": 2})
    two = make_chain("two", {"source": [41.0]}, swept={"train.batch": [1, 2]})
    table = runs_table(ReportData((one, two)))
    assert list(table.columns[-3:]) == ["split.lambda", "rounds", "train.batch"]
    assert set(table.loc[table["experiment"] == "one", "split.lambda"]) == {"0.5"}
    assert set(table["train.batch"].dropna()) == {"[1, 2]"}


def test_figures_gains_and_p_are_those_of_the_seeds(study):
    rows = paper_table(study, None).rows
    assert [(row.task, *row.labels.values()) for row in rows[:2]] == [
        ("gta5", "a", "0.5"),
        ("gta5", "a", "0.67"),
    ]
    first = rows[0]
    assert (first.figure.mean, first.figure.count) == (pytest.approx(51.0), 3)
    differences = [9.0, 10.0, 8.0]
    assert first.gain.mean == pytest.approx(9.0)
    assert first.p == pytest.approx(stats.ttest_rel(differences, [0.0, 0.0, 0.0]).pvalue)
    assert [row.labels["split.lambda"] for row in rows if row.best] == ["0.67", "0.67"]
    assert [row.task for row in rows] == ["gta5"] * 4 + ["synthia"] * 4


def test_baseline_is_the_same_tasks(study):
    rows = paper_table(study, "*-a-lambda-0.5").rows
    gains = [row.gain and round(row.gain.mean, 6) for row in rows]
    assert gains == [None, 1.7, -1.0, 0.7] * 2
    assert rows[1].p is None  # three equal differences have no spread to test against


@pytest.mark.parametrize("pattern", ["*-a-*", "*-c-*"])
def test_baseline_that_is_not_one_is_refused(study, pattern):
    with pytest.raises(
        ConfigError, match=rf"--baseline {re.escape(pattern)}: fits [02] experiments of task gta5"
    ):
        paper_table(study, pattern)


def test_only_seeds_that_both_have_are_paired(make_chain, tmp_path):
    chain = make_chain("one", {"source": [40.0, 41.0, None], "inter": [43.0, None, 50.0]})
    write_tables(ReportData((chain,)), tmp_path)
    (row,) = paper_table(tmp_path, None).rows
    assert (row.gain.mean, row.gain.count, row.p) == (3.0, 1, None)
    assert row.labels == {"experiment": "one"}


def test_latex_has_the_caption_and_the_best_in_bold(study):
    lines = latex(paper_table(study, None)).splitlines()
    assert r"\begin{tabular}{lllrrr}" in lines
    assert r"task & recipe & split.lambda & mIoU & gain & p \\" in lines
    assert r"gta5 & a & 0.5 & 51.00 $\pm$ 1.73 & +9.00 $\pm$ 1.00 & 0.004 \\" in lines
    assert r" & a & 0.67 & \textbf{52.70 $\pm$ 1.73} & +10.70 $\pm$ 1.00 & 0.003 \\" in lines
    assert sum(line == r"\midrule" for line in lines) == 2
    assert "two-sided paired t-test over n = 3 seeds, not corrected" in lines[2]


def test_latex_escapes_names(make_chain, tmp_path):
    chain = make_chain("odd_50%&more", {"source": [40.0, 41.0], "inter": [38.0, 40.0]})
    write_tables(ReportData((chain,)), tmp_path)
    assert r"streets & odd\_50\%\&more & \textbf{39.00 $\pm$ 1.41} & $-$1.50 $\pm$ 0.71" in latex(
        paper_table(tmp_path, None)
    )


def test_markdown_and_csv_say_the_same(study):
    table = paper_table(study, None)
    assert "| gta5 | a | 0.67 | **52.70 ± 1.73** | +10.70 ± 1.00 | 0.003 |" in markdown(table)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert rows[1] | {"p": ""} == {
        "experiment": "study-gta5-a-lambda-0.67",
        "task": "gta5",
        "recipe": "a",
        "split.lambda": "0.67",
        "metric": "mIoU",
        "n": "3",
        "mean": "52.7000",
        "sd": "1.7321",
        "best": "1",
        "gain": "10.7000",
        "gain_sd": "1.0000",
        "pairs": "3",
        "p": "",
    }


def test_missing_or_damaged_tables_are_named(study, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ArtifactError, match=r"runs\.csv is missing"):
        paper_table(empty, None)
    runs = pd.read_csv(study / "runs.csv", dtype=str)
    runs.assign(value="much").to_csv(study / "runs.csv", index=False)
    with pytest.raises(ArtifactError, match="damaged"):
        paper_table(study, None)
    runs.assign(status="not run").to_csv(study / "runs.csv", index=False)
    results = pd.read_csv(study / "results.csv")
    results.assign(trained=0).to_csv(study / "results.csv", index=False)
    with pytest.raises(ArtifactError, match="no figures yet"):
        paper_table(study, None)


@pytest.fixture
def unlabelled(make_chain):
    """Makes chains of two stages without a score; coefficients 0.5, and 0.8 of seed 0 alone."""
    figures = {"source": (0.25, 0.25), "inter": (0.1, 0.4)}

    def make(name, **changes):
        item = make_chain(name, {"source": [1.0, 1.0], "inter": [1.0, None]}, **changes)
        return without_labels(item, figures)

    return make


def test_a_suite_without_labels_gets_its_label_free_figures_in_every_format(unlabelled, tmp_path):
    write_tables(ReportData((unlabelled("one"),)), tmp_path)
    table = paper_table(tmp_path, None)
    source = "| streets | one | source | 2 | 0.2500 ± 0.0000 | 0.2500 ± 0.0000 | 0.5000 ± 0.0000 |"
    text = markdown(table)
    assert source in text and "| streets | one | inter | 1 | 0.1000 | 0.4000 | 0.8000 |" in text
    assert text.splitlines()[-1].startswith("The target has no labels, so there are no scores.")
    assert "uncertainty coefficient (high)" in text.splitlines()[0] and "Empty" not in text
    lines = latex(table).splitlines()
    assert r"\begin{tabular}{lllrrrr}" in lines and "no labels" in lines[2]
    assert r" & one & inter & 1 & 0.1000 & 0.4000 & 0.8000 \\" in lines
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert rows[1] == {
        "experiment": "one",
        "task": "streets",
        "stage": "inter",
        "n": "1",
        "entropy": "0.1000",
        "entropy_sd": "",
        "information_maximisation": "0.4000",
        "information_maximisation_sd": "",
        "uncertainty_coefficient": "0.8000",
        "uncertainty_coefficient_sd": "",
    }


def test_without_labels_rows_of_a_task_stand_together_and_what_did_not_run_has_none(
    unlabelled, make_chain, tmp_path
):
    chains = [unlabelled("one"), unlabelled("two", task="other"), unlabelled("three", network="large")]
    write_tables(ReportData((*chains, make_chain("four", {"source": [None]}))), tmp_path)
    table = paper_table(tmp_path, None)
    assert [(line.task, *line.labels) for line in table.lines()] == [
        ("streets", "one", "source", "small"),
        ("streets", "one", "inter", "small"),
        ("streets", "three", "source", "large"),
        ("streets", "three", "inter", "large"),
        ("other", "two", "source", "small"),
        ("other", "two", "inter", "small"),
    ]


def test_without_labels_there_are_no_gains_and_what_was_not_looked_at_is_said(unlabelled, tmp_path):
    item = unlabelled("one")
    unseen = replace(item, runs=(item.runs[0], replace(item.runs[2], label_free_figures={})))
    write_tables(ReportData((unseen,)), tmp_path)
    assert "Empty: not looked at" in paper_table(tmp_path, None).caption
    with pytest.raises(ConfigError, match=r"--baseline one: the suite's targets have no labels"):
        paper_table(tmp_path, "one")
    old = pd.read_csv(tmp_path / "results.csv").drop(columns="uncertainty_coefficient_mean")
    old.to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(ArtifactError, match="no column uncertainty_coefficient_mean"):
        paper_table(tmp_path, None)


def test_beside_scores_a_task_without_labels_is_named(unlabelled, make_chain, tmp_path):
    write_tables(ReportData((make_chain("one", {"source": [40.0]}), unlabelled("two", task="own"))), tmp_path)
    table = paper_table(tmp_path, None)
    assert [line.task for line in table.lines()] == ["streets"]
    assert table.caption.endswith("Without labels, so without a row: own.")


def test_verb_prints_the_suites_table(study, tmp_path, monkeypatch, capsys):
    folder = Results(tmp_path / "here" / "results").report("study")
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("here"))
    (folder / PAGE).touch()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["table", "--suite", "study", "--format", "latex"]) == 0
    assert capsys.readouterr().out == latex(paper_table(study, None))
    words = ["table", "--suite", "study", "--baseline", "*-a-lambda-0.5", "--out", "table.md"]
    assert main(words) == 0
    assert Path("table.md").read_text("utf-8") == markdown(paper_table(study, "*-a-lambda-0.5"))
    assert main(["table", "--suite", "studdy"]) == 2
    assert "did you mean `study`" in capsys.readouterr().err
