"""The table for a paper: figures by hand, pairs, the test, labels and the three formats."""

import csv
import io
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
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
    with pytest.raises(ArtifactError, match="no figures yet"):
        paper_table(study, None)


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
