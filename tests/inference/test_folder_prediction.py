"""Predicting a folder of pictures: maps, a second run, changed, stale and bad files, stopping."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts.control import Control
from pipeline.artifacts.errors import ConfigError, Interrupted
from pipeline.datasets.decoding import read_image
from pipeline.inference import folder_prediction
from pipeline.inference.folder_prediction import Wanted, output_names, predict_folder
from pipeline.inference.prediction import predict_image


@pytest.fixture
def folder(tmp_path, make_pictures):
    """Pictures of several sizes, kinds and depths of folder."""
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for name, size in {"a.png": (24, 32), "b.png": (48, 64), "deep/c.jpg": (50, 40)}.items():
        Image.fromarray(make_pictures(1, size)[0]).save(images / name)
    return images


def test_folder_is_predicted_with_all_maps(model, folder, tmp_path):
    out = tmp_path / "out"
    progress = []
    summary = predict_folder(
        model,
        folder,
        out,
        Wanted(confidence=True, entropy=True),
        control=Control(progress=lambda *pair: progress.append(pair)),
    )
    assert (summary.predicted, summary.finished_before, summary.bad) == (3, 0, ())
    assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)]
    with Image.open(folder / "deep" / "c.jpg") as image:
        expected = predict_image(model, image)
    ids = np.asarray(Image.open(out / "ids" / "deep" / "c.png"))
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, expected.ids)
    entropy = np.asarray(Image.open(out / "entropy" / "deep" / "c.png"))
    np.testing.assert_allclose(entropy / 255, expected.entropy, atol=0.5 / 255 + 1e-6)
    confidence = np.asarray(Image.open(out / "confidence" / "deep" / "c.png"))
    np.testing.assert_allclose(confidence / 255, expected.confidence, atol=0.5 / 255 + 1e-6)
    assert np.asarray(Image.open(out / "overlay" / "b.png")).shape == (48, 64, 3)
    assert not list(out.rglob(".partial*"))


def test_second_run_predicts_only_what_is_new_or_changed(model, folder, tmp_path, picture):
    out = tmp_path / "out"
    predict_folder(model, folder, out)
    (out / "ids" / "a.png").unlink()
    changed(folder / "b.png")
    picture((24, 32)).save(folder / "new.png")
    model.network.seen.clear()
    summary = predict_folder(model, folder, out)
    assert (summary.predicted, summary.finished_before) == (3, 1)
    assert len(model.network.seen) == 3


def changed(path):
    """Another picture of the same size and an old time, as when one is restored from elsewhere."""
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_180)
    turned.save(path)
    os.utime(path, (1e9, 1e9))


def test_a_picture_replaced_by_an_older_one_is_predicted_again(model, folder, tmp_path):
    out = tmp_path / "out"
    predict_folder(model, folder, out)
    changed(folder / "b.png")
    assert predict_folder(model, folder, out).predicted == 1
    with Image.open(folder / "b.png") as image:
        assert np.array_equal(np.asarray(Image.open(out / "ids" / "b.png")), predict_image(model, image).ids)


def test_a_new_time_alone_predicts_nothing(model, folder, tmp_path):
    predict_folder(model, folder, tmp_path / "out")
    os.utime(folder / "b.png", (3e9, 3e9))
    assert predict_folder(model, folder, tmp_path / "out").predicted == 0


def test_maps_of_pictures_that_are_gone_are_named_and_removed_on_request(model, folder, tmp_path):
    out = tmp_path / "out"
    predict_folder(model, folder, out, Wanted(entropy=True))
    (folder / "b.png").rename(folder / "new.png")
    (folder / "deep" / "c.jpg").unlink()
    stale = tuple(
        f"{kind}/{name}" for kind in ("entropy", "ids", "overlay") for name in ("b.png", "deep/c.png")
    )
    assert predict_folder(model, folder, out).stale == stale
    assert (out / "ids/deep/c.png").is_file()
    assert predict_folder(model, folder, out, prune=True).stale == stale
    assert sorted(path.name for path in (out / "ids").iterdir()) == ["a.png", "new.png"]
    assert predict_folder(model, folder, out).stale == ()


def test_maps_of_a_picture_that_is_broken_now_belong_to_nothing(model, folder, tmp_path):
    predict_folder(model, folder, tmp_path / "out")
    (folder / "b.png").write_bytes(b"broken")
    assert predict_folder(model, folder, tmp_path / "out").stale == ("ids/b.png", "overlay/b.png")


def test_maps_of_another_kind_are_stale_once_the_picture_changed(model, folder, tmp_path):
    out = tmp_path / "out"
    predict_folder(model, folder, out, Wanted(entropy=True))
    assert predict_folder(model, folder, out).stale == ()
    changed(folder / "b.png")
    assert predict_folder(model, folder, out).stale == ("entropy/b.png",)


def test_a_map_that_another_picture_wrote_over_counts_for_that_one_only(model, folder, tmp_path):
    out = tmp_path / "out"
    predict_folder(model, folder, out)
    kept = (folder / "a.png").read_bytes(), (folder / "a.png").stat()
    (folder / "a.png").unlink()
    with Image.open(folder / "b.png") as image:
        image.save(folder / "a.jpg")
    predict_folder(model, folder, out)
    (folder / "a.jpg").unlink()
    (folder / "a.png").write_bytes(kept[0])
    os.utime(folder / "a.png", ns=(kept[1].st_mtime_ns, kept[1].st_mtime_ns))
    assert predict_folder(model, folder, out).predicted == 1


def test_a_cut_off_index_predicts_only_what_it_lost(model, folder, tmp_path):
    predict_folder(model, folder, tmp_path / "out")
    index = tmp_path / "out/predicted.jsonl"
    index.write_bytes(index.read_bytes()[:-9])
    assert predict_folder(model, folder, tmp_path / "out").predicted == 1


def test_a_folder_with_maps_of_somebody_else_is_left_alone(model, folder, tmp_path):
    (tmp_path / "out/ids").mkdir(parents=True)
    (tmp_path / "out/ids/a.png").write_bytes(b"drawn by hand")
    with pytest.raises(ConfigError, match="not of predictions"):
        predict_folder(model, folder, tmp_path / "out")
    assert (tmp_path / "out/ids/a.png").read_bytes() == b"drawn by hand"


def test_names_as_long_as_a_file_system_allows(model, folder, tmp_path):
    (folder / "a.png").rename(folder / ("x" * 251 + ".png"))
    assert predict_folder(model, folder, tmp_path / "out").predicted == 3


def test_left_out_files_and_links_are_told(model, folder, tmp_path):
    for name in (".hidden.png", "y.heic", "notes.txt"):
        (folder / name).write_text("")
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "deep/back").symlink_to(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "a.png").rename(elsewhere / "a.png")
    (folder / "more").symlink_to(elsewhere)
    summary = predict_folder(model, folder, tmp_path / "out")
    assert summary.predicted == 3 and (tmp_path / "out/ids/more/a.png").is_file()
    told = "\n".join(summary.omissions)
    for text in (
        ".hidden.png",
        ".heic",
        "notes.txt",
        "a broken link: gone.jpg",
        "lies in: deep/back",
        "more -> ",
    ):
        assert text in told


def test_stopped_run_goes_on(model, folder, tmp_path):
    calls = iter([None, "time is up"])
    with pytest.raises(Interrupted, match="time is up: 1 of 3"):
        predict_folder(model, folder, tmp_path / "out", control=Control(lambda: next(calls)))
    assert predict_folder(model, folder, tmp_path / "out").finished_before == 1


def test_bad_pictures_are_listed_and_not_fatal(model, folder, tmp_path):
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    out = tmp_path / "out"
    summary = predict_folder(model, folder, out)
    assert summary.predicted == 2
    assert [name for name, _ in summary.bad] == ["b.png", "text.png"]
    with (out / "bad_images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["b.png", "text.png"]
    assert all(row["reason"] for row in rows)
    assert not (out / "ids" / "b.png").exists()
    (folder / "b.png").write_bytes(whole)
    (folder / "text.png").unlink()
    assert predict_folder(model, folder, out).predicted == 1
    assert not (out / "bad_images.csv").exists()


def meanwhile(monkeypatch, act):
    """Act while the first picture is predicted."""
    acts = iter([act])

    def predicting(model, pixels):
        next(acts, lambda: None)()
        return predict_image(model, pixels)

    monkeypatch.setattr(folder_prediction, "predict_image", predicting)


def test_a_picture_that_is_replaced_while_it_is_predicted_is_predicted_again(
    model, folder, tmp_path, picture, monkeypatch
):
    out = tmp_path / "out"
    larger = picture((60, 80))
    meanwhile(monkeypatch, lambda: larger.save(folder / "a.png"))
    summary = predict_folder(model, folder, out)
    assert [name for name, _ in summary.bad] == ["a.png"]
    assert "replaced or removed while it was predicted" in (out / "bad_images.csv").read_text()
    assert not (out / "ids/a.png").exists(), "its maps would be those of no picture"
    summary = predict_folder(model, folder, out)
    assert (summary.predicted, summary.finished_before, summary.bad) == (1, 2, ())
    assert np.array_equal(np.asarray(Image.open(out / "ids/a.png")), predict_image(model, larger).ids)


def test_a_picture_that_is_replaced_by_one_as_large_while_it_is_decoded_is_predicted_again(
    model, folder, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    before = (folder / "b.png").read_bytes()

    def replaced(path):
        pixels = read_image(path)
        if path.name == "b.png":
            path.write_bytes(before[:-1] + b"x")  # behind the pixels; what counts is that it is another file
            os.utime(path, (1e9, 1e9))
        return pixels

    monkeypatch.setattr(folder_prediction, "read_image", replaced)
    assert [name for name, _ in predict_folder(model, folder, out).bad] == ["b.png"]


@pytest.mark.parametrize("name", ["a.png", "deep/c.jpg"], ids=["predicted", "not read yet"])
def test_a_picture_that_disappears_meanwhile_is_listed_and_the_others_are_predicted(
    model, folder, tmp_path, monkeypatch, name
):
    meanwhile(monkeypatch, (folder / name).unlink)
    summary = predict_folder(model, folder, tmp_path / "out")
    assert summary.predicted == 2
    assert [image for image, _ in summary.bad] == [name]
    assert f"{folder / name}: " in (tmp_path / "out/bad_images.csv").read_text()


def test_pictures_folder_is_never_written_to(model, folder, tmp_path):
    for out in (folder, folder / "out", tmp_path / "images" / ".." / "images" / "x"):
        with pytest.raises(ConfigError, match="lies inside"):
            predict_folder(model, folder, out)


def test_predictions_of_two_models_are_not_mixed(model, folder, tmp_path):
    predict_folder(model, folder, tmp_path / "out")
    with pytest.raises(ConfigError, match="another model"):
        predict_folder(replace(model, meta={"stage": "other", "step": 5}), folder, tmp_path / "out")
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    with pytest.raises(ConfigError, match="another model"):
        predict_folder(model, folder, tmp_path / "out")


def test_folder_without_pictures_is_an_error(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no picture.*\.png"):
        predict_folder(model, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ConfigError, match="not a folder"):
        predict_folder(model, tmp_path / "nowhere", tmp_path / "out")


def test_pictures_of_one_stem_get_names_of_their_own(tmp_path):
    names = output_names([Path(name) for name in ("a.jpg", "a.png", "d/a.png", "v1.2.jpg")])
    assert [name.as_posix() for name in names] == ["a.jpg.png", "a.png.png", "d/a.png", "v1.2.png"]
    names = output_names([Path(name) for name in ("a.jpg", "a.jpg.png", "a.png")])
    assert len(set(names)) == 3
