"""The suites that `docs/configuration.md` shows are valid, and mean what it says of them."""

import re
import shutil
from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.config.suites import read_suite
from pipeline.config.yaml_files import parse_yaml
from pipeline.plan.planner import Planner
from pipeline.plan.records import run_record

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text("utf-8"), re.DOTALL)
STUDY = next(block for block in BLOCKS if "24 runs" in block)


def test_a_against_b_is_one_short_file_and_plans(tmp_path, driving_data, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(driving_data))
    root = Path(shutil.copytree(ROOT / "config", tmp_path / "config"))
    (root / "study.yaml").write_text(STUDY)
    runs = Planner(load_config([root / "study.yaml"], root=root)).plan()
    assert len(STUDY.splitlines()) <= 15
    assert len(runs) == 24
    found = {
        (run.names["task"], run.names["recipe"], run.stages["split"].parameters.easy_share, run.seed)
        for run in runs
    }
    tasks, recipes = ("gta5-cityscapes", "synthia-cityscapes"), ("intrada", "intrada-cbst")
    assert found == {
        (t, r, share, s) for t in tasks for r in recipes for share in (0.5, 0.67) for s in (0, 1, 2)
    }
    swept = {run_record(run).swept["split.lambda"] for run in runs if "lambda-0.67" in run.experiment}
    assert swept == {0.67}  # a column of the study's tables
    # What both recipes begin with is made once.
    assert len({run.stages["inter"].key for run in runs}) == 2 * 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_suite_of_the_page_is_valid(number):
    assert read_suite(ROOT / "config" / "page.yaml", parse_yaml(BLOCKS[number], "page.yaml")).experiments


def test_the_names_that_the_page_tells():
    names = list(read_suite(ROOT / "config" / "study.yaml", parse_yaml(STUDY, "study.yaml")).experiments)
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert names[0] in text and names[-1] in text
