"""Suites on data that must be brought: digits and polyps plan on placeholders of the real layout."""

import bz2
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from tiny_pictures import write_ids, write_image

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import load_config
from pipeline.plan.planner import Planner

CONFIG = Path(__file__).resolve().parents[2] / "config"
DIGITS = {"digits-mnist-usps", "digits-usps-mnist"}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Archives and folders whose splits number their images alike, as the real ones do."""
    raw = tmp_path / "digits/MNIST/raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 6), ("t10k", 4)):
        header = struct.pack(">iiii", 0x803, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + bytes(28 * 28 * count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 0x801, count) + bytes(count))
    with bz2.open(tmp_path / "digits/usps.bz2", "wt") as file:
        file.writelines("1 1:0.5\n" for _ in range(40))
    folders = {"cvc_clinicdb": ["."], "kvasir_seg": ["train", "validation"]}
    for name, parts in folders.items():
        for part in parts:
            for number in range(60):
                write_image(tmp_path / f"polyps/{name}/{part}/images/{number}.jpg", seed=number)
                write_ids(tmp_path / f"polyps/{name}/{part}/masks/{number}.png", np.zeros((6, 8)))
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))


def runs(suite):
    return Planner(load_config([CONFIG / f"{suite}.yaml"], root=CONFIG)).plan()


@pytest.mark.parametrize(
    ("suite", "metric", "experiments"),
    [
        ("digits", "accuracy", DIGITS | {f"{name}-teacher" for name in DIGITS}),
        (
            "polyps",
            "dice",
            {f"polyps-{name}" for name in ("source", "advent", "intrada", "plca", "ass", "strong")},
        ),
    ],
)
def test_a_suite_plans(data, suite, metric, experiments):
    planned = runs(suite)
    assert {run.experiment for run in planned} == experiments
    assert {run.metric for run in planned} == {metric}
    assert all(run.evaluates for run in planned)


def test_digits_rank_four_fifths_as_easy_and_keep_the_scored_images_out(data):
    for run in runs("digits"):
        if run.experiment in DIGITS:
            assert run.stages["split"].parameters.easy_share == 0.8
            assert run.final == "intra"
        target = run.stages["inter"].parents["target"]
        scored = run.evaluates[run.final].parents["data"]
        splits = (target.record.data.dataset.name, target.record.data.split, scored.record.data.split)
        assert splits in {("usps", "train", "report"), ("mnist", "train", "test")}


def test_the_same_archive_under_two_splits_is_still_refused(data, tmp_path):
    """Image numbers agree by chance; the same number of the same file is the same image."""
    task = (CONFIG / "tasks/mnist-usps.yaml").read_text().replace("split: report", "split: all")
    for folder in ("datasets", "taxonomies", "networks", "recipes"):
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / folder).symlink_to(CONFIG / folder)
    shutil.copytree(CONFIG / "tasks", tmp_path / "config/tasks")
    (tmp_path / "config/tasks/mnist-usps.yaml").write_text(task)
    (tmp_path / "config/digits.yaml").symlink_to(CONFIG / "digits.yaml")
    (tmp_path / "config/config.yaml").write_text("suite: digits\n")
    with pytest.raises(ConfigError, match="images are in both the target split `train` and"):
        Planner(load_config((), {"only": "digits-mnist-usps"}, tmp_path / "config")).plan()
