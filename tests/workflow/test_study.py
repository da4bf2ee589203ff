"""The documented study: two tasks, two recipes, two lambdas, three seeds, in one short file and two commands."""

import json
import re
import shlex
import statistics

import pytest
import yaml
from documented import ROOT
from process_settings import process_settings  # noqa: F401 - a fixture
from tiny import RUN, write, write_config

from pipeline.__main__ import main
from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file

PAGE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
STUDY, COMMANDS = re.search(
    r"^```yaml\n(# config/study\.yaml.*?)^```\n\n```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
).groups()
SHORT = {"network": "small", "task": ["tiny", "back"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study as documented, but for its tasks, network and steps; a folder, its configuration and its runs."""
    folder = tmp_path_factory.mktemp("study")
    root = write_config(folder)
    sides = {"source": ("camera", "train"), "target": ("rendered", "train"), "evaluate": ("camera", "val")}
    task = {side: {"dataset": f"streets-{name}", "split": split} for side, (name, split) in sides.items()}
    write(root / "tasks/back.yaml", {"taxonomy": "camvid11", **task})
    suite = yaml.safe_load(STUDY) | SHORT
    suite["set"]["train"]["steps"] = suite["set"]["round"]["steps"] = 2
    write(root / "study.yaml", {**suite, "rounds": 1})
    write(root / "config.yaml", {"suite": "study", "run": RUN})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = load_config()
        yield folder, config, Planner(config).plan()


def test_it_is_one_short_file_and_two_commands(study):
    assert len(STUDY.splitlines()) <= 15
    words = [shlex.split(line) for line in COMMANDS.splitlines()]
    assert [one[3] for one in words] == ["start", "table"]
    assert words[1][4:] == ["--suite", "study", "--format", "latex"]
    runs = study[2]
    assert len(runs) == 24 and {run.seed for run in runs} == {0, 1, 2}
    assert {run.swept["split.lambda"] for run in runs} == {0.5, 0.67}
    assert {run.names["task"] for run in runs} == {"tiny", "back"}


@pytest.mark.slow
def test_its_table_has_a_line_for_each_row_of_a_paper(study, capsys):
    folder, config, runs = study
    write_stage_files(config, runs)
    keys = [stage.key for stage in in_order(stage for run in runs for stage in run.all_stages())]
    keys += [f"experiment-{run.experiment}-seed{run.seed}" for run in runs] + ["report-study"]
    for key in keys:
        assert run_file(folder / f"results/stages/{key}.json", None) == 0, key
    capsys.readouterr()
    assert main(shlex.split(COMMANDS.splitlines()[1])[3:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert r"task & recipe & split.lambda & mIoU & gain & p \\" in lines
    assert sum(re.search(r" & 0\.(5|67) & ", line) is not None for line in lines) == 8
    values = [
        json.loads(path.read_text())["stages"]["intra"]["last"]["miou_present"]
        for path in folder.glob("results/experiments/study-back-intrada-lambda-0.67/seed*/metrics.json")
    ]
    figure = rf"{statistics.mean(values):.2f} $\pm$ {statistics.stdev(values):.2f}"
    (row,) = [line for line in lines if figure in line]
    assert row.startswith(" & IntraDA & 0.67 & ")
