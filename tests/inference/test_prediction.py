"""Using a finished model on one picture: scale, size, windows, modes, damaged files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts.errors import ArtifactError, SegadaptError
from pipeline.inference.prediction import load_model, predict_image
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.networks.build import build_network
from pipeline.networks.files import save_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics import upsampling


def test_picture_of_the_working_size_is_predicted_as_in_a_pass(model, picture):
    image = picture((24, 32))
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = logits_at(Plain(), model.network, tensor, (24, 32))
    found = predict_image(model, image)
    assert np.array_equal(found.ids, logits.argmax(1)[0].numpy())
    np.testing.assert_allclose(found.confidence, logits.softmax(1).amax(1)[0].numpy(), atol=1e-6)
    assert found.entropy.shape == (24, 32)
    assert np.array_equal(model.predict(image), found.ids)


@pytest.mark.parametrize("size", [(48, 64), (13, 17), (100, 90), (24, 200), (300, 30), (1, 1)])
def test_ids_have_the_pictures_own_size(model, picture, size):
    assert predict_image(model, picture(size)).ids.shape == size


def test_picture_is_brought_to_the_scale_of_training(model, picture):
    """Same proportions: the working size itself; others: shorter side to shorter side, upright or not."""
    for size in [(480, 640), (470, 640), (60, 40), (12, 12)]:
        predict_image(model, picture(size))
    assert [shape[-2:] for shape in model.network.seen] == [(24, 32), (24, 32), (36, 24), (24, 24)]


def test_long_picture_is_covered_by_windows(model, picture):
    predict_image(model, picture((48, 200)))
    assert {shape[-2:] for shape in model.network.seen} == {(24, 32)}
    assert len(model.network.seen) == 6


def test_rotated_photo_is_turned_upright(model, picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture((24, 32)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert predict_image(model, image).ids.shape == (32, 24)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_any_mode_are_taken(model, picture, mode):
    assert predict_image(model, picture((24, 32)).convert(mode)).ids.shape == (24, 32)


def test_strips_change_no_id(model, picture, monkeypatch):
    image = picture((61, 80))
    whole = predict_image(model, image)
    monkeypatch.setattr(upsampling, "CACHED", 4 * 80 * 7)
    strips = predict_image(model, image)
    assert (whole.ids == strips.ids).mean() > 0.999
    np.testing.assert_allclose(whole.entropy, strips.entropy, atol=1e-4)


def test_classifier_gives_one_pixel(model, picture):
    model.network.single_pixel = True
    assert predict_image(model, picture((99, 30))).ids.shape == (1, 1)
    assert model.network.seen[-1][-2:] == (24, 32)


def test_damaged_weights_are_said_to_be_damaged(model, picture):
    with torch.no_grad():
        model.network.main.bias.fill_(float("nan"))
    with pytest.raises(SegadaptError, match="not finite"):
        predict_image(model, picture((24, 32)))


def saved(folder, classes, **meta):
    network = build_network(NetworkParameters(backbone="small", output_stride=8), 4, seed=0)
    fields = {
        "taxonomy": classes.model_dump(mode="json"),
        "sizes": {"source": [64, 48], "target": [32, 24]},
    }
    save_network(folder / "model.safetensors", network, {**fields, **meta})
    return network


def test_saved_model_is_loaded_and_predicts_the_same(tmp_path, picture, four_classes):
    network = saved(tmp_path, four_classes, step=7)
    model = load_model(str(tmp_path), "cpu")
    assert model.working_size == (32, 24)
    assert model.taxonomy == four_classes
    assert model.meta["step"] == 7
    assert model.palette[2].tolist() == [0, 0, 142]
    image = picture((24, 32))
    expected = predict_image(replace(model, network=network.eval()), image)
    assert np.array_equal(model.predict(image), expected.ids)


def test_folder_without_a_model_says_what_it_needs(tmp_path):
    with pytest.raises(ArtifactError, match=r"model\.safetensors and model\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize("meta", [{"taxonomy": None}, {"sizes": {}}, {"sizes": {"target": [3]}}])
def test_damaged_description_names_the_file(tmp_path, four_classes, meta):
    saved(tmp_path, four_classes, **meta)
    with pytest.raises(ArtifactError, match=r"model\.json"):
        load_model(tmp_path, "cpu")
