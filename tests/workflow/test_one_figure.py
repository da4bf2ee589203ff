"""A figure is the same to the last digit in the report and by the verb `evaluate`, whatever the task leaves out."""

import json

import pytest
from process_settings import process_settings  # noqa: F401 - a fixture
from tiny import EXPERIMENT, write, write_config

from pipeline.__main__ import main
from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file
from pipeline.stages.results import Results

TRAIN = EXPERIMENT["set"]["train"] | {
    "steps": 40,
    "optimiser": {"kind": "adamw", "lr": 0.02, "head_lr_mult": 1.0},
}
"""Enough that the network tells some classes apart."""
MODES = {"one": "plain", "many": "multiscale_flip"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two experiments trained on the source alone; the target is worked on at half of its size, by another filter."""
    folder = tmp_path_factory.mktemp("figure")
    root = write_config(folder)
    task = json.loads((root / "tasks/tiny.yaml").read_text("utf-8"))
    task["target"] |= {"size": [24, 16], "resample": "bilinear"}
    write(root / "tasks/tiny.yaml", task)
    experiments = {
        name: {
            **EXPERIMENT,
            "recipe": "source-only",
            "set": {"train": TRAIN, "evaluate": {"test_mode": mode, "batch": 2}},
        }
        for name, mode in MODES.items()
    }
    write(root / "tiny.yaml", {"experiments": experiments})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runs = Planner(config := load_config(root=root)).plan()
        write_stage_files(config, runs)
        keys = [stage.key for stage in in_order(stage for run in runs for stage in run.all_stages())]
        for key in [*keys, *(f"experiment-{run.experiment}-seed0" for run in runs), "report-tiny"]:
            assert run_file(Results().planned(key), None) == 0, key
    return folder


@pytest.mark.parametrize("name", MODES)
def test_report_and_verb_give_the_same_figures(finished, monkeypatch, capsys, name):
    monkeypatch.chdir(finished)
    folder = finished / f"results/experiments/{name}/seed0"
    command = ["evaluate", "--model", str(folder / "model"), "--dataset", "streets-camera", "--split", "val"]
    assert main([*command, "--out", "scores.json"]) == 0
    verb = json.loads((finished / "scores.json").read_text())
    report = json.loads((folder / "metrics.json").read_text())["stages"]["source"]["last"]
    assert (verb["size"], verb["test_mode"]) == ([24, 16], MODES[name])
    assert {key: verb[key] for key in report if key != "step"} == {
        key: report[key] for key in report if key != "step"
    }
    assert capsys.readouterr().out.startswith("3 images of streets-camera val, input 24x16, test mode")
    assert main([*command, "--size", "48", "32", "--out", "scores.json"]) == 0
    own = json.loads((finished / "scores.json").read_text())
    assert own["confusion"] != verb["confusion"], "another size is another figure"
    assert own["pixels"] == verb["pixels"], "labels keep their own size"


def test_the_head_of_the_table_says_the_size(finished):
    report = finished / "results/report/tiny"
    assert (report / "summary.txt").read_text().startswith("tiny, input 24x16\n")
    assert "input 24x16, scored at the labels' own size" in (report / "index.html").read_text()
