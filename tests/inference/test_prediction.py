"""Using a finished model: scale, size, windows, folders, resuming, bad files."""

import csv
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts.errors import ArtifactError, ConfigError, Interrupted, SegadaptError
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference import prediction as module
from pipeline.inference.folder_prediction import Wanted, list_pictures, output_names, predict_folder
from pipeline.inference.prediction import Model, load_model, predict_image, rows_at
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.networks.build import build_network
from pipeline.networks.files import save_network
from pipeline.networks.parameters import NetworkParameters

COLORS = [(128, 64, 128), (70, 70, 70), (0, 0, 142), (220, 20, 60)]
NAMES = ("road", "building", "car", "person")
TAXONOMY = Taxonomy.model_validate(
    {"name": "four", "classes": [{"name": n, "color": c} for n, c in zip(NAMES, COLORS, strict=True)]}
)


@pytest.fixture
def model(network):
    return Model(network, TAXONOMY, (32, 24), {"stage": "adapt-x-0123", "step": 5})


@pytest.fixture
def folder(tmp_path, make_pictures):
    """Pictures of several sizes, kinds and depths of folder."""
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for name, size in {"a.png": (24, 32), "b.png": (48, 64), "deep/c.jpg": (50, 40)}.items():
        Image.fromarray(make_pictures(1, size)[0]).save(images / name)
    return images


def picture(make_pictures, size):
    return Image.fromarray(make_pictures(1, size)[0])


def test_picture_of_the_working_size_is_predicted_as_in_a_pass(model, make_pictures):
    image = picture(make_pictures, (24, 32))
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = logits_at(Plain(), model.network, tensor, (24, 32))
    found = predict_image(model, image)
    assert np.array_equal(found.ids, logits.argmax(1)[0].numpy())
    np.testing.assert_allclose(found.confidence, logits.softmax(1).amax(1)[0].numpy(), atol=1e-6)
    assert found.entropy.shape == (24, 32)
    assert np.array_equal(model.predict(image), found.ids)


@pytest.mark.parametrize("size", [(48, 64), (13, 17), (100, 90), (24, 200), (300, 30), (1, 1)])
def test_ids_have_the_pictures_own_size(model, make_pictures, size):
    assert predict_image(model, picture(make_pictures, size)).ids.shape == size


def test_picture_is_brought_to_the_scale_of_training(model, make_pictures):
    """Same proportions: the working size itself; others: shorter side to shorter side, upright or not."""
    for size in [(480, 640), (470, 640), (60, 40), (12, 12)]:
        predict_image(model, picture(make_pictures, size))
    assert [shape[-2:] for shape in model.network.seen] == [(24, 32), (24, 32), (36, 24), (24, 24)]


def test_long_picture_is_covered_by_windows(model, make_pictures):
    predict_image(model, picture(make_pictures, (48, 200)))
    assert {shape[-2:] for shape in model.network.seen} == {(24, 32)}
    assert len(model.network.seen) == 6


def test_rotated_photo_is_turned_upright(model, make_pictures, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(make_pictures, (24, 32)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert predict_image(model, image).ids.shape == (32, 24)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_any_mode_are_taken(model, make_pictures, mode):
    assert predict_image(model, picture(make_pictures, (24, 32)).convert(mode)).ids.shape == (24, 32)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(40, 50), (7, 9), (3, 50), (1, 1)])
def test_rows_equal_those_of_the_whole_map(make_network, align_corners, size):
    network = make_network(align_corners=align_corners)
    grid = torch.randn((1, 4, 7, 9), generator=torch.Generator().manual_seed(1))
    whole = network.upsample(grid, size)
    for top in range(size[0]):
        row = rows_at(network, grid, size, slice(top, top + 1))
        torch.testing.assert_close(row, whole[:, :, top : top + 1], rtol=1e-5, atol=1e-5)


def test_strips_change_no_id(model, make_pictures, monkeypatch):
    image = picture(make_pictures, (61, 80))
    whole = predict_image(model, image)
    monkeypatch.setattr(module, "STRIP_VALUES", 4 * 80 * 7)
    strips = predict_image(model, image)
    assert (whole.ids == strips.ids).mean() > 0.999
    np.testing.assert_allclose(whole.entropy, strips.entropy, atol=1e-4)


def test_classifier_gives_one_pixel(model, make_pictures):
    model.network.single_pixel = True
    assert predict_image(model, picture(make_pictures, (99, 30))).ids.shape == (1, 1)
    assert model.network.seen[-1][-2:] == (24, 32)


def test_damaged_weights_are_said_to_be_damaged(model, make_pictures):
    with torch.no_grad():
        model.network.main.bias.fill_(float("nan"))
    with pytest.raises(SegadaptError, match="not finite"):
        predict_image(model, picture(make_pictures, (24, 32)))


def saved(folder, **meta):
    network = build_network(NetworkParameters(backbone="small", output_stride=8), 4, seed=0)
    fields = {"taxonomy": TAXONOMY.model_dump(mode="json"), "sizes": {"source": [64, 48], "target": [32, 24]}}
    save_network(folder / "model.safetensors", network, {**fields, **meta})
    return network


def test_saved_model_is_loaded_and_predicts_the_same(tmp_path, make_pictures):
    network = saved(tmp_path, step=7)
    model = load_model(str(tmp_path), "cpu")
    assert model.working_size == (32, 24)
    assert model.taxonomy == TAXONOMY
    assert model.meta["step"] == 7
    assert model.palette[2].tolist() == [0, 0, 142]
    image = picture(make_pictures, (24, 32))
    expected = predict_image(replace(model, network=network.eval()), image)
    assert np.array_equal(model.predict(image), expected.ids)


def test_folder_without_a_model_says_what_it_needs(tmp_path):
    with pytest.raises(ArtifactError, match=r"model\.safetensors and model\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize("meta", [{"taxonomy": None}, {"sizes": {}}, {"sizes": {"target": [3]}}])
def test_damaged_description_names_the_file(tmp_path, meta):
    saved(tmp_path, **meta)
    with pytest.raises(ArtifactError, match=r"model\.json"):
        load_model(tmp_path, "cpu")


def test_folder_is_predicted_with_all_maps(model, folder, tmp_path):
    out = tmp_path / "out"
    progress = []
    summary = predict_folder(
        model,
        folder,
        out,
        Wanted(confidence=True, entropy=True),
        progress=lambda *pair: progress.append(pair),
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


def test_second_run_predicts_only_what_is_new_or_changed(model, folder, tmp_path, make_pictures):
    out = tmp_path / "out"
    predict_folder(model, folder, out)
    (out / "ids" / "a.png").unlink()
    later = (out / "ids" / "b.png").stat().st_mtime + 10
    os.utime(folder / "b.png", (later, later))
    picture(make_pictures, (24, 32)).save(folder / "new.png")
    model.network.seen.clear()
    summary = predict_folder(model, folder, out)
    assert (summary.predicted, summary.finished_before) == (3, 1)
    assert len(model.network.seen) == 3


def test_stopped_run_goes_on(model, folder, tmp_path):
    calls = iter([None, "time is up"])
    with pytest.raises(Interrupted, match="time is up: 1 of 3"):
        predict_folder(model, folder, tmp_path / "out", stop=lambda: next(calls))
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


def test_pictures_folder_is_never_written_to(model, folder, tmp_path):
    for out in (folder, folder / "out", tmp_path / "images" / ".." / "images" / "x"):
        with pytest.raises(ConfigError, match="lies inside"):
            predict_folder(model, folder, out)


def test_predictions_of_two_models_are_not_mixed(model, folder, tmp_path):
    predict_folder(model, folder, tmp_path / "out")
    with pytest.raises(ConfigError, match="another model"):
        predict_folder(replace(model, meta={"stage": "other", "step": 5}), folder, tmp_path / "out")


def test_folder_without_pictures_is_an_error(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no picture.*\.png"):
        predict_folder(model, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ConfigError, match="not a folder"):
        predict_folder(model, tmp_path / "nowhere", tmp_path / "out")


def test_pictures_are_found_by_ending_and_hidden_ones_left_out(tmp_path):
    for name in ("b.PNG", "a.jpeg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_text("")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "c.png").write_text("")
    assert [path.name for path in list_pictures(tmp_path)] == ["a.jpeg", "b.PNG"]


def test_pictures_of_one_stem_get_names_of_their_own(tmp_path):
    names = output_names([module.Path(name) for name in ("a.jpg", "a.png", "d/a.png", "v1.2.jpg")])
    assert [name.as_posix() for name in names] == ["a.jpg.png", "a.png.png", "d/a.png", "v1.2.png"]
    names = output_names([module.Path(name) for name in ("a.jpg", "a.jpg.png", "a.png")])
    assert len(set(names)) == 3
