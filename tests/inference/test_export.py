"""Exported models: the graph's outputs, what the file says of itself, and what is refused by name."""

import copy
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts.errors import ArtifactError, ConfigError, DataError
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference import export
from pipeline.inference.export import export_model
from pipeline.inference.exported import _session
from pipeline.inference.parity import PICTURES, agreement
from pipeline.inference.prediction import load_model, predict_image
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.networks.build import build_network
from pipeline.networks.files import save_network
from pipeline.networks.parameters import NetworkParameters, WeightsParameters
from pipeline.networks.records import read_record
from pipeline.networks.small import SmallEncoder
from pipeline.numerics.spacing import evenly_spaced

TAXONOMY = Taxonomy.model_validate(
    {"name": "three", "classes": [{"name": n, "color": [9 * i, 1, 2]} for i, n in enumerate("abc")]}
)


def enliven(network):
    """Make the head's answers differ from pixel to pixel."""
    with torch.no_grad():
        for tensor in network.head_parameters():
            tensor.normal_(generator=torch.Generator().manual_seed(1))


def saved(folder, parameters, size, prepare=enliven):
    """A model folder of random weights that `prepare` has changed; the model and its record."""
    network = build_network(parameters, 3, seed=0)
    prepare(network)
    folder.mkdir(exist_ok=True)
    meta = {"taxonomy": TAXONOMY.model_dump(mode="json"), "sizes": {"target": size}, "step": 5}
    save_network(folder / "model.safetensors", network, meta)
    return load_model(folder, "cpu"), read_record(folder / "model.safetensors")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small model of working size 40x32, exported to ONNX with probabilities; and its file."""
    folder = tmp_path_factory.mktemp("small")
    model, record = saved(
        folder, NetworkParameters(backbone="small", dilations=(1,), skip=True, profile="unit"), [40, 32]
    )
    exported = export_model(model, record, "onnx", probabilities=True)
    (folder / "model.onnx").write_bytes(exported.data)
    return model, exported, folder / "model.onnx"


@pytest.mark.parametrize("shape", [(1, 32, 40, 3), (3, 32, 40, 3), (2, 61, 37, 3)])
def test_graph_takes_any_batch_and_size(small, shape):
    model, exported, _ = small
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = logits_at(Plain(), model.network, images.permute(0, 3, 1, 2), shape[1:3])
    ids = exported.run("ids", images)
    assert ids.dtype == torch.uint8
    assert (ids == logits.argmax(1)).float().mean() > 0.999
    torch.testing.assert_close(exported.run("probabilities", images), logits.softmax(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(32, 40), (64, 80), (50, 41), (32, 150)])
def test_file_is_used_as_the_model_folder_is(small, make_pictures, size):
    model, _, path = small
    opened = load_model(path)
    assert (opened.taxonomy, opened.working_size, opened.meta) == (TAXONOMY, (40, 32), model.meta)
    picture = Image.fromarray(make_pictures(1, size)[0])
    ours, theirs = predict_image(model, picture), predict_image(opened, picture)
    assert (ours.ids == theirs.ids).mean() > 0.999
    np.testing.assert_allclose(ours.entropy, theirs.entropy, atol=1e-3)


def test_idle_threads_of_onnxruntime_wait(small):
    options = _session(small[2].read_bytes(), small[2]).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == torch.get_num_threads()


def test_agreement_counts_every_pixel(small, make_pictures, tmp_path):
    model, exported, _ = small
    Image.fromarray(make_pictures(1, (64, 80))[0]).save(tmp_path / "a.png")
    found = agreement(model, exported.model(model), exported.run, [tmp_path / "a.png"])
    assert found.pixels == {"its own size": 2 * 32 * 40, "other sizes": 32 * 32, "predict": 64 * 80}
    assert found.holds()
    found.add("predict", np.zeros(8), np.ones(8))
    assert found.shares()["predict"] == pytest.approx(64 * 80 / (64 * 80 + 8))
    assert not found.holds()


def test_classifier_keeps_its_one_size(tmp_path, make_pictures):
    model, record = saved(tmp_path / "model", NetworkParameters(backbone="lenet"), [28, 28])
    exported = export_model(model, record, "torch-export", probabilities=False)
    assert not exported.record.any_size and exported.record.single_pixel
    picture = Image.fromarray(make_pictures(1, (28, 28))[0])
    assert predict_image(exported.model(model), picture).ids.shape == (1, 1)


def test_one_size_takes_no_other_proportions(small, make_pictures):
    model, exported, _ = small
    fixed = exported.model(model)
    fixed.network.any_size = False
    assert predict_image(fixed, Image.fromarray(make_pictures(1, (64, 80))[0])).ids.shape == (64, 80)
    with pytest.raises(DataError, match=r"picture has 80x40 pixels.*40x32"):
        predict_image(fixed, Image.fromarray(make_pictures(1, (40, 80))[0]))


def test_network_that_cannot_be_exported_is_named(tmp_path, monkeypatch):
    model, record = saved(tmp_path / "model", NetworkParameters(backbone="small", dilations=(1,)), [40, 32])
    forward = SmallEncoder.forward
    monkeypatch.setattr(
        SmallEncoder, "forward", lambda self, x: forward(self, x if x.mean().item() > 0 else -x)
    )
    with pytest.raises(ConfigError, match="network small cannot be exported"):
        export_model(model, record, "onnx", probabilities=False)


def test_onnx_file_of_others_is_refused(small, tmp_path):
    import onnx

    foreign = onnx.load(small[2])
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ArtifactError, match=r"foreign\.onnx: an ONNX file without the classes"):
        load_model(tmp_path / "foreign.onnx")
    onnx.helper.set_model_props(foreign, {"segadapt": "{}"})
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ArtifactError, match="not of this version"):
        load_model(tmp_path / "foreign.onnx")


def test_damaged_or_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.onnx cannot be read"):
        load_model(tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x07cut")
    with pytest.raises(ArtifactError, match=r"cut\.onnx: no ONNX file"):
        load_model(tmp_path / "cut.onnx")


def test_missing_extra_says_what_to_install(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"onnxruntime is not installed.*segadapt\[export\]"):
        load_model(small[2])


def test_exported_network_refuses_other_test_modes(small):
    with pytest.raises(ConfigError, match="test mode plain"):
        load_model(small[2]).network(torch.zeros(1, 3, 32, 40))


def families():
    data = os.environ.get("SEGADAPT_DATA", "")
    imagenet = WeightsParameters(source=f"{data}/weights/mobilenet_v2_imagenet.pth")
    return {
        "small": NetworkParameters(backbone="small", skip=True),
        "mobilenet_v2": NetworkParameters(
            backbone="mobilenet_v2", output_stride=16, skip=True, weights=imagenet, align_corners=False
        ),
        "resnet101_caffe": NetworkParameters(backbone="resnet101_caffe", levels="multi", profile="caffe"),
    }


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("SEGADAPT_DATA" not in os.environ, reason="SEGADAPT_DATA is not set")
@pytest.mark.parametrize("family", ["small", "mobilenet_v2", "resnet101_caffe"])
def test_families_agree_on_camvid(tmp_path, family):
    model, record = saved(tmp_path / "model", families()[family], [160, 120])
    exported = export_model(model, record, "onnx", probabilities=False)
    assert exported.one_size is None
    pictures = evenly_spaced(
        sorted(Path(os.environ["SEGADAPT_DATA"], "camvid/images").rglob("*.*")), PICTURES
    )
    assert len(pictures) == 20
    found = agreement(model, exported.model(model), exported.run, pictures)
    assert found.holds(), found.shares()


def trained(network):
    """Some steps to the class of a pixel's brightness."""
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    labels = (images.mean(1) * 3).long()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.003)
    for _ in range(5):
        logits = network.upsample(network.train()(images).main, (64, 96))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimiser.step()


@pytest.mark.parametrize(
    ("name", "file_format", "options"),
    [
        # Its dilated stage pads as TensorFlow does.
        ("test_convnext", "onnx", {"dilations": (1, 3), "skip": True}),
        ("test_vit", "torch-export", {"head": "vit_light", "align_corners": False}),
    ],
)
def test_models_of_timm_agree_at_any_size(tmp_path, make_pictures, name, file_format, options):
    """Traced at a size of whole cells, compared at others too."""
    parameters = NetworkParameters(
        backbone=f"timm/{name}", output_stride=16, batch_norm="train", profile="timm", **options
    )
    model, record = saved(tmp_path / "model", parameters, [80, 64], prepare=trained)
    exported = export_model(model, record, file_format, probabilities=False)
    assert exported.one_size is None
    for number, size in enumerate([(64, 80), (120, 100)]):
        Image.fromarray(make_pictures(1, size)[0]).save(tmp_path / f"{number}.png")
    found = agreement(model, exported.model(model), exported.run, sorted(tmp_path.glob("*.png")))
    assert found.pixels["other sizes"] > 0
    assert found.holds(), found.shares()


@pytest.mark.slow
def test_two_resolutions_are_of_one_size(tmp_path, make_pictures):
    parameters = NetworkParameters(
        backbone="timm/test_convnext",
        output_stride=32,
        head="daformer",
        dilations=(1,),
        resolutions="two",
        align_corners=False,
        batch_norm="train",
        profile="timm",
    )
    model, record = saved(tmp_path / "model", parameters, [128, 64], prepare=enliven)
    exported = export_model(model, record, "torch-export", probabilities=False)
    assert exported.one_size == "its windows follow from the image's size"
    Image.fromarray(make_pictures(1, (64, 128))[0]).save(tmp_path / "a.png")
    found = agreement(model, exported.model(model), exported.run, [tmp_path / "a.png"])
    assert found.holds(), found.shares()


def test_file_that_cannot_be_written_is_refused_by_name(small, monkeypatch):
    def fails(*_):
        raise RuntimeError("Failed serializing node ceil")

    monkeypatch.setitem(export.FORMATS, "torch-export", fails)
    with pytest.raises(ConfigError, match=r"network small cannot be exported .Failed serializing node ceil"):
        export_model(small[0], small[1].record.model, "torch-export", probabilities=False)


def test_pictures_are_stretched_to_a_graph_of_one_size(tmp_path):
    """Of other proportions than the model's working size, as a source-only model meets on target pictures."""
    parameters = NetworkParameters(backbone="small", dilations=(1, 3), skip=True)
    model, _ = saved(tmp_path / "model", parameters, [40, 32])
    fixed = replace(model, network=copy.deepcopy(model.network))
    fixed.network.any_size = False
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 100, 3), dtype=np.uint8)).save(
        tmp_path / "wide.png"
    )
    seen = []

    def run(output, images):
        seen.append(tuple(images.shape[1:3]))
        with torch.inference_mode():
            return logits_at(Plain(), model.network, images.permute(0, 3, 1, 2), seen[-1]).argmax(1)

    assert agreement(model, fixed, run, [tmp_path / "wide.png"]).holds()
    assert seen == [(32, 40)]
