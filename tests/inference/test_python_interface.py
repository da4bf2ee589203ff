"""The interface for Python: paths, arrays, lists, generators, batches, probabilities; the notebook of docs/."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts.errors import DataError
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.prediction import Model, load_model
from pipeline.networks.build import build_network
from pipeline.networks.files import save_network
from pipeline.networks.parameters import NetworkParameters

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "python.ipynb"
TAXONOMY = Taxonomy.model_validate(
    {
        "name": "three",
        "classes": [{"name": n, "color": (40 * i, 90, 200)} for i, n in enumerate(["road", "sky", "tree"])],
    }
)


@pytest.fixture
def model(network):
    return Model(network, TAXONOMY, (32, 24), {})


@pytest.fixture
def array(make_pictures):
    return make_pictures(1, (48, 64))[0]


def test_a_path_an_array_and_an_image_are_one_picture(model, array, tmp_path):
    Image.fromarray(array).save(tmp_path / "a.png")
    expected = model.predict(Image.fromarray(array))
    assert expected.shape == (48, 64)
    for picture in (array, tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(model.predict(picture), expected)


def test_a_model_is_printed_in_one_line(model):
    backbone = model.network.parameters_spec.backbone
    assert repr(model) == f"Model({backbone}, 3 classes, input 32x24)"


def test_grey_array_is_the_grey_picture(model, array):
    grey = np.ascontiguousarray(array[..., 0])
    assert np.array_equal(model.predict(grey), model.predict(np.stack([grey] * 3, axis=-1)))


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), 7]
)
def test_what_is_no_picture_is_said(model, wrong):
    with pytest.raises(DataError, match=r"uint8 \(H, W, 3\)|path, an array"):
        model.predict(wrong)


def test_batches_of_a_generator_give_what_single_pictures_give(model, make_pictures):
    """Sizes change in between: neighbours of one size share a forward pass, the order stays."""
    sizes = [(24, 32), (24, 32), (24, 32), (48, 64), (13, 90), (24, 32)]
    pictures = [make_pictures(1, size)[0] for size in sizes]
    alone = [next(model.predictions([picture])) for picture in pictures]
    model.network.seen.clear()
    together = list(model.predictions((picture for picture in pictures), batch=2))
    assert [said.ids.shape for said in together] == sizes
    assert [shape[0] for shape in model.network.seen[:3]] == [2, 1, 1]
    for one, other in zip(alone, together, strict=True):
        assert (one.ids == other.ids).mean() > 0.999
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)
        np.testing.assert_allclose(one.entropy, other.entropy, atol=1e-5)


def test_pictures_are_read_as_they_are_needed(model, array):
    def pictures():
        yield array
        raise RuntimeError("the second was read")

    stream = model.predictions(pictures(), batch=1)
    with pytest.raises(RuntimeError, match="the second was read"):
        list(stream)


def test_gradients_of_the_caller_stay_as_they_are_between_two_pictures(model, array):
    for _ in model.predictions([array, array]):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_probabilities_add_up_and_agree_with_ids(model, array):
    found = model.probabilities(array)
    said = next(model.predictions([array]))
    assert found.shape == (model.network.num_classes, 48, 64) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    assert np.array_equal(found.argmax(0), said.ids)
    np.testing.assert_allclose(found.max(0), said.confidence, atol=1e-6)


def test_batch_must_hold_a_picture(model, array):
    with pytest.raises(ValueError, match="batch: must be at least 1"):
        list(model.predictions([array], batch=0))


def test_the_notebook_runs(tmp_path, monkeypatch, make_pictures):
    """With a model and photos where its first cell looks for them."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/experiments/demo/seed0/model")
    folder.mkdir(parents=True)
    network = build_network(NetworkParameters(backbone="small", output_stride=8), 3, seed=0)
    meta = {"taxonomy": TAXONOMY.model_dump(mode="json"), "sizes": {"target": [32, 24]}}
    save_network(folder / "model.safetensors", network, meta)
    Path("photos").mkdir()
    for number, pixels in enumerate(make_pictures(3, (48, 64))):
        Image.fromarray(pixels).save(f"photos/{number}.png")
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)
    assert np.array_equal(names["ids"], load_model(folder, "cpu").predict("photos/0.png"))
    assert len(names["rows"]) == 3
    assert names["probabilities"].shape == (3, 48, 64)
    assert sorted(Path("least-certain").iterdir())
