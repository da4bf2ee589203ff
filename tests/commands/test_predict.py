"""`predict`: what is written, resumed, reported, and the exit codes; and `from pipeline import load_model`."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.inference import folder_prediction


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, (name, size) in enumerate(
        {"a.jpg": (50, 40), "b.png": (30, 30), "more/c.png": (90, 20)}.items()
    ):
        noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def predict(model, photos, out, *more):
    words = ["--model", str(model), "--images", str(photos), "--out", str(out), "--device", "cpu"]
    return main(["predict", *words, *more])


def written(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


def test_ids_and_overlays_of_every_size(model, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(model, photos, out) == 0
    names = ["a.png", "b.png", "more/c.png"]
    assert written(out) == [f"{kind}/{name}" for kind in ("ids", "overlay") for name in names]
    ids = Image.open(out / "ids/more/c.png")
    assert (ids.size, ids.mode) == ((90, 20), "L")
    assert set(np.unique(np.asarray(ids))) <= {0, 1, 2}
    assert "3 pictures predicted into" in capsys.readouterr().out


def test_confidence_and_entropy_when_asked_for(model, photos, tmp_path):
    assert predict(model, photos, tmp_path / "out", "--confidence", "--entropy") == 0
    assert len(written(tmp_path / "out")) == 4 * 3


def test_the_second_run_predicts_nothing_again(model, photos, tmp_path, capsys, monkeypatch):
    assert predict(model, photos, tmp_path / "out") == 0
    monkeypatch.setattr(folder_prediction, "predict_image", None)  # calling it would fail
    assert predict(model, photos, tmp_path / "out") == 0
    assert "3 pictures predicted (3 of them before)" in capsys.readouterr().out


def test_a_bad_picture_is_listed_and_passed_over(model, photos, tmp_path, capsys):
    (photos / "b.png").write_bytes(b"no picture")
    assert predict(model, photos, tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "2 pictures predicted" in told.out
    assert "1 could not be predicted" in told.err and "b.png" in told.err
    assert "b.png" in (tmp_path / "out/bad_images.csv").read_text()


def test_only_bad_pictures_are_a_failure(model, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.png").write_bytes(b"")
    assert predict(model, tmp_path / "photos", tmp_path / "out") == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda where: (where / "model/model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda where: (where / "photos").rename(where / "fotos"), "is not a folder"),
        (lambda where: [path.unlink() for path in (where / "photos").rglob("*.*g")], "holds no picture"),
    ],
)
def test_what_is_missing_is_named(model, photos, tmp_path, capsys, change, text):
    change(tmp_path)
    assert predict(model, photos, tmp_path / "out") == 2
    assert text in capsys.readouterr().err


def test_predictions_do_not_go_among_the_pictures(model, photos, capsys):
    assert predict(model, photos, photos / "out") == 2
    assert "choose a folder outside it" in capsys.readouterr().err


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_no_torch():
    code = "import sys, pipeline, pipeline.__main__; print('torch' in sys.modules, 'load_model' in pipeline.__all__)"
    assert run_python(code).split() == ["False", "True"]


def test_a_model_in_three_lines(model, photos):
    from pipeline import load_model

    ids = load_model(model, "cpu").predict(Image.open(photos / "a.jpg"))
    assert (ids.shape, ids.dtype) == ((40, 50), np.uint8)


def test_the_package_has_no_other_late_names():
    import pipeline

    with pytest.raises(AttributeError, match="no attribute 'load_modell'"):
        _ = pipeline.load_modell
