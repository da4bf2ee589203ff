"""`export`: the file is left only where it agrees with `predict`, and `predict` takes it."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.__main__ import main
from pipeline.artifacts.files import read_json, write_json
from pipeline.inference import export


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate([(50, 40), (90, 20)]):
        noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


def words(model, photos, out, *more):
    return ["export", "--model", str(model), "--images", str(photos), "--out", str(out), *more]


def test_onnx_file_predicts_as_the_folder_does(model, photos, tmp_path, capsys):
    file = tmp_path / "model.onnx"
    assert main(words(model, photos, file, "--format", "onnx")) == 0
    told = capsys.readouterr().out
    assert "100.000 % of the ids equal: predict, 2 pictures" in told and "any batch, any size" in told
    assert (
        float(re.search(r"([\d.]+) of the model folder's processor time for a batch of two", told)[1]) > 0.0
    )
    for one in (model, file):
        out = ["--images", str(photos), "--out", str(tmp_path / f"out-{one.name}")]
        assert main(["predict", "--model", str(one), *out]) == 0
    for name in ("ids/0.png", "ids/1.png"):
        ours, theirs = (
            np.asarray(Image.open(tmp_path / f"out-{one}" / name)) for one in ("model", "model.onnx")
        )
        assert (ours == theirs).mean() > 0.999


def test_pictures_that_cannot_be_read_are_named_and_passed_over(model, photos, tmp_path, capsys):
    (photos / "0a.jpg").write_bytes(b"no picture")
    file = tmp_path / "model.onnx"
    assert main(words(model, photos, file, "--format", "onnx")) == 0
    told = capsys.readouterr()
    assert f"passed over: {photos}/0a.jpg: not a picture" in told.err
    assert "predict, 2 pictures" in told.out and f"written: {file.resolve()} (" in told.out
    for name in ("0.png", "1.png"):
        (photos / name).write_bytes(b"")
    assert main(words(model, photos, tmp_path / "other.onnx", "--format", "onnx")) == 2
    assert "none of the 3 pictures can be read" in capsys.readouterr().err
    assert not (tmp_path / "other.onnx").exists()


def test_disagreement_leaves_no_file(model, photos, tmp_path, capsys, monkeypatch):
    exported = export.export_model

    def other(model, *rest):
        found = exported(model, *rest)
        with torch.no_grad():  # as if the graph were of other weights
            for tensor in model.network.head_parameters():
                tensor.neg_()
        return found

    monkeypatch.setattr(export, "export_model", other)
    file = tmp_path / "model.pt2"
    assert main(words(model, photos, file, "--format", "torch-export")) == 2
    assert "less than 99.9 % of the pixels" in capsys.readouterr().err
    assert not file.exists()


def test_test_mode_of_the_figures_counts(model, photos, tmp_path, capsys):
    beside = model / "model.json"
    record = read_json(beside)
    record["meta"]["scoring"] = {
        "size": [40, 32],
        "resample": "bicubic",
        "test_mode": "aggregation",
        "batch": 1,
    }
    write_json(beside, record)
    file = tmp_path / "model.pt2"
    assert main(words(model, photos, file, "--format", "torch-export")) == 2
    assert "test mode aggregation cannot be exported; give `--test-mode plain`" in capsys.readouterr().err
    assert main(words(model, photos, file, "--format", "torch-export", "--test-mode", "plain")) == 0
    assert file.is_file()


@pytest.mark.parametrize(
    ("out", "images", "message"),
    [
        ("model.bin", "photos", "model.bin: a file of format onnx ends in .onnx"),
        ("model.onnx", "nothing", "holds no picture to compare on"),
    ],
)
def test_wrong_options_are_named(model, photos, tmp_path, capsys, out, images, message):
    assert main(words(model, tmp_path / images, tmp_path / out, "--format", "onnx")) == 2
    assert message in capsys.readouterr().err


def test_onnx_is_run_on_the_cpu(photos, tmp_path, capsys):
    options = ["--images", str(photos), "--out", str(tmp_path / "out"), "--device", "cuda"]
    assert main(["predict", "--model", str(tmp_path / "model.onnx"), *options]) == 2
    assert "ONNX files are run on the CPU" in capsys.readouterr().err
