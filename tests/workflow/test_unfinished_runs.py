"""A suite's page with one run that has finished and one that has not."""

import json
import shutil
from pathlib import Path

import pytest
from tiny import EXPERIMENT, write_suite

from pipeline.artifacts.files import write_json, write_text
from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.run import PlannedRun
from pipeline.plan.workflow import Plan
from pipeline.report.publishing import run_file


@pytest.fixture
def second(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedRun:
    """The plan of a second seed, of which nothing has run; the first has finished."""
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_suite(Path("config"), EXPERIMENT | {"seeds": [0, 1]})
    config = load_config()
    runs = Planner(config).plan()
    write_stage_files(config, runs)
    return runs[1]


def test_the_finished_run_has_figures_and_the_other_its_reason(second: PlannedRun) -> None:
    source = second.stages["source"]
    message = "training diverged at step 3"
    write_json(Path("results") / source.rule / source.key / "run" / "failed.json", {"message": message})
    write_text(Path("logs") / source.rule / f"{source.key}.log", "".join(f"line {n}\n" for n in range(40)))
    assert run_file(Path("results/stages/report-tiny.json"), None) == 0
    rows = json.loads(Path("results/report/tiny/results.json").read_text())
    assert {(row["seeds"], row["planned"]) for row in rows} == {(1, 2)}
    assert (
        Path("results/report/tiny/summary.txt").read_text().endswith(f"tiny/seed1: {source.key}: {message}\n")
    )
    page = Path("results/report/tiny/index.html").read_text()
    assert not Path("results/report/tiny/report.json").exists(), (
        "the rule will make the page once all have finished"
    )
    assert message in page and "line 39" in page and "line 10\n" not in page


def test_a_stage_that_was_killed_is_told_from_one_that_never_ran(second: PlannedRun) -> None:
    source = second.stages["source"]
    run_file(Path("results/stages/report-tiny.json"), None)
    assert f"{source.key}: not started" in Path("results/report/tiny/summary.txt").read_text()
    (Path("results") / source.rule / source.key / "run").mkdir(parents=True)
    run_file(Path("results/stages/report-tiny.json"), None)
    assert f"{source.key}: ended without a word" in Path("results/report/tiny/summary.txt").read_text()
    failed = {"outcome": "failed", "message": "net.pth cannot be fetched"}
    write_json(Path("results") / source.rule / source.key / "run/history.json", [failed])
    run_file(Path("results/stages/report-tiny.json"), None)
    assert f"{source.key}: net.pth cannot be fetched" in Path("results/report/tiny/summary.txt").read_text()


def test_pages_are_made_without_the_rules(second: PlannedRun) -> None:
    Plan(load_config()).publish()
    assert "tiny" in Path("results/report/index.html").read_text()
