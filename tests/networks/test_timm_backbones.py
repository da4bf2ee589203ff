"""Models of timm as encoders: levels, parts, input profile, refusals, seeds, files, and weight files."""

import logging
import os
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.networks.batch_norm import synchronise
from pipeline.networks.build import build_network, construct
from pipeline.networks.files import load_network, read_record, save_network
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.timm_names import check_timm_name, timm_names
from pipeline.networks.timm_weights import efficientnet_lite_tensors, hub_file
from pipeline.networks.weights import backbone_tensors
from pipeline.numerics.randomness import seeded_weights

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
STREET_THINGS = {"streetcar", "street sign", "traffic light", "minivan", "trolleybus", "cab", "moving van"}


def parameters(name, stride, **options):
    return NetworkParameters(
        backbone=f"timm/{name}", output_stride=stride, **{"dilations": (1,), "skip": True} | options
    )


def on_meta(chosen):
    with torch.device("meta"):
        return construct(chosen, 5)


def built(chosen, seed=0):
    with seeded_weights(seed):
        return construct(chosen, 5)


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [
        ("pvt_v2_b0", 32, (32, 64, 160, 256)),
        ("convnext_atto", 32, (40, 80, 160, 320)),
        ("convnext_atto", 8, (40, 80, 160, 320)),
        ("tf_efficientnet_lite0", 16, (24, 40, 112, 320)),
        ("resnet18", 32, (64, 128, 256, 512)),
        # Their weights are made for images of one size.
        ("swin_tiny_patch4_window7_224", 32, (96, 192, 384, 768)),
        ("mvitv2_tiny", 32, (96, 192, 384, 768)),
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (70, 100)])
def test_grids_are_whole_cells(name, stride, channels, size):
    network = on_meta(parameters(name, stride, levels="multi"))
    features = network.backbone(torch.empty(2, 3, *size, device="meta"))
    cells = [-(-side // stride) for side in size]
    enlarged = [stride * count for count in cells]
    strides = [min(level, stride) for level in (4, 8, 16, 32)]
    assert network.backbone.channels.levels == channels
    assert [tuple(level.shape[1:]) for level in features.levels] == [
        (count, *(side // level for side in enlarged)) for count, level in zip(channels, strides, strict=True)
    ]
    assert features.low is features.levels[0]
    assert features.previous is features.levels[-2]
    assert features.last is features.levels[-1]
    output = network(torch.empty(2, 3, *size, device="meta"))
    assert output.main.shape == (2, 5, *(side // 4 for side in enlarged))
    assert network.classify(output.feature, output.skip).shape == output.main.shape


def test_the_maps_are_timms_own():
    network = built(parameters("convnext_atto", 32)).eval()
    model = timm.create_model("convnext_atto", features_only=True).eval()
    state = {f"{name}": value for name, value in network.backbone.model.state_dict().items()}
    model.load_state_dict(
        {name.replace("stages.", "stages_").replace("stem.", "stem_"): value for name, value in state.items()}
    )
    with torch.no_grad():
        for ours, theirs in zip(network.backbone(IMAGES).levels, model(IMAGES), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("name", "stride", "freeze", "last_frozen", "first_trained"),
    [
        ("pvt_v2_b0", 32, 8, "stages.1", "stages.2"),
        ("convnext_atto", 16, 4, "stages.0", "stages.1"),
        ("convnext_atto", 16, 16, "stages.2", "stages.3"),
        ("tf_efficientnet_lite0", 16, 8, "blocks.2", "blocks.3"),
        ("resnet18", 32, 2, "act1", "maxpool"),
        ("resnet18", 32, 8, "layer2", "layer3"),
        ("swin_tiny_patch4_window7_224", 32, 8, "layers.1", "layers.2"),
    ],
)
def test_stages_freeze_by_stride(name, stride, freeze, last_frozen, first_trained):
    network = on_meta(parameters(name, stride, freeze_below=freeze, batch_norm="train"))
    parts = [part for part, _ in network.backbone_parts()]
    frozen = len(network.frozen_parts)
    assert network.frozen_parts == tuple(parts[:frozen])
    assert parts[frozen - 1 : frozen + 1] == [
        f"backbone.model.{last_frozen}",
        f"backbone.model.{first_trained}",
    ]
    named = [name for name, _ in network.backbone.named_parameters()]
    trained = [name for name, tensor in network.backbone.named_parameters() if tensor.requires_grad]
    assert trained == named[-len(trained) :]
    assert trained[0].startswith(f"model.{first_trained}") or first_trained == "maxpool"


@pytest.mark.parametrize("name", ["pvt_v2_b0", "swin_tiny_patch4_window7_224"])
def test_every_trainable_tensor_has_a_gradient(name):
    network = built(parameters(name, 32, drop_path=0.2, skip=False, head="daformer", batch_norm="train"))
    network(IMAGES).main.square().sum().backward()
    assert [name for name, tensor in network.named_parameters() if tensor.grad is None] == []


def test_drop_path_leaves_out_blocks_in_training_alone():
    plain, dropping = (built(parameters("pvt_v2_b0", 32, drop_path=share)) for share in (0.0, 0.9))
    dropping.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    assert not torch.equal(plain(IMAGES).feature, dropping(IMAGES).feature)
    assert torch.equal(plain.eval()(IMAGES).feature, dropping.eval()(IMAGES).feature)


def test_layers_that_are_synchronised_keep_their_activations():
    """timm's BatchNorm layers hold the activation that follows them."""
    network = built(parameters("tf_efficientnet_lite0", 32, batch_norm="train")).eval()
    layers = [module for module in network.modules() if hasattr(module, "act") and module.weight.ndim == 1]
    synchronised = synchronise(network, "train")
    kept = [module for module in synchronised.modules() if isinstance(module, torch.nn.SyncBatchNorm)]
    assert sum(hasattr(module, "act") for module in kept) == len(layers) > 10


def test_the_input_profile_is_the_models():
    network = on_meta(parameters("tf_efficientnet_lite0", 16))
    assert (network.profile.name, network.profile.mean, network.profile.std) == (
        "timm",
        (0.5,) * 3,
        (0.5,) * 3,
    )
    assert on_meta(parameters("tf_efficientnet_lite0", 16, profile="torch")).profile.mean[0] == 0.485


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("pvt_v2_b55", 32, "timm has no model pvt_v2_b55; did you mean `timm/pvt_v2_b5`"),
        ("pvt_v2_b0", 16, "cannot make pvt_v2_b0 with output_stride=16"),
        ("tf_efficientnet_lite0", 14, "has output stride 8, .* write output_stride: 8"),
        ("mixer_b16_224", 32, "mixer_b16_224 reads images of one size"),
        ("csatv2", 32, "maps of strides 8, 8, 16, 32, 64"),
        ("convnext_atto", 14, "cannot make convnext_atto with output_stride=14"),
        ("nest_tiny", 32, "reads images of one size in timm .*Input height .192. doesn't match model .224"),
        ("maxvit_tiny_tf_224", 32, "reads images of one size in timm .*must be divisible by window"),
        ("xcit_nano_12_p8_224", 8, "reads images of one size in timm .no option for other sizes"),
    ],
)
def test_models_that_do_not_fit_are_refused_by_name(name, stride, message):
    with pytest.raises(ConfigError, match=message):
        on_meta(parameters(name, stride))


def test_a_size_that_a_model_does_not_read_is_named():
    network = on_meta(parameters("halonet26t", 32))
    assert network(torch.empty(1, 3, 256, 512, device="meta")).main.shape[-2:] == (64, 128)
    with pytest.raises(ConfigError, match=r"timm/halonet26t does not read images of 160x96 pixels"):
        network(torch.empty(1, 3, 90, 160, device="meta"))


@pytest.mark.parametrize(("name", "stride"), [("tf_efficientnet_lite0", 16), ("convnext_atto", 8)])
def test_constant_padding_of_an_exported_program_is_timms(name, stride, monkeypatch):
    network = built(parameters(name, stride)).eval()
    images = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        timms = network.backbone(images)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        monkeypatch.setattr("pipeline.networks.timm_models.F.interpolate", lambda images, **_: images)
        constant = network.backbone(images)
    for ours, theirs in zip(constant.levels, timms.levels, strict=True):
        assert torch.equal(ours, theirs)


def test_the_names_are_timms():
    assert timm_names() == set(timm.list_models())


def test_without_timm_no_name_is_refused(monkeypatch):
    monkeypatch.setattr("pipeline.networks.timm_names.timm_names", frozenset)
    check_timm_name("timm/nothing", "here")


def test_the_seed_decides_and_no_global_state_is_touched():
    chosen = parameters("convnext_atto", 32, drop_path=0.1)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = build_network(chosen, 4, 3).state_dict()
    torch.rand(3)
    again, other = (build_network(chosen, 4, seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "backbone.model.stages.0.blocks.0.conv_dw.weight"
    assert not torch.equal(first[name], other[name])
    torch.random.set_rng_state(before)
    build_network(chosen, 4, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_a_saved_network_is_the_same_again(tmp_path):
    network = built(parameters("tf_efficientnet_lite0", 16)).eval()
    save_network(tmp_path / "a.safetensors", network, {})
    loaded, _ = load_network(tmp_path / "a.safetensors")
    assert loaded.profile == network.profile == read_record(tmp_path / "a.safetensors").profile
    assert torch.equal(loaded(IMAGES).main, network(IMAGES).main)


def test_a_timm_whose_model_reads_otherwise_is_refused(tmp_path, monkeypatch):
    save_network(tmp_path / "a.safetensors", built(parameters("resnet18", 32)), {})
    other = {"mean": (0.1, 0.1, 0.1), "std": (1.0, 1.0, 1.0)}
    monkeypatch.setattr(
        "pipeline.networks.timm_backbones.profile_of",
        lambda model: read_record(tmp_path / "a.safetensors").profile.model_copy(update=other),
    )
    with pytest.raises(ArtifactError, match="profile timm has other numbers than that of timm/resnet18"):
        load_network(tmp_path / "a.safetensors")


def hub(folder: Path, repository: str, state: dict[str, torch.Tensor]) -> None:
    """A cache of huggingface_hub that holds one file."""
    place = folder / f"models--{repository.replace('/', '--')}"
    (place / "snapshots/abc").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs/main").write_text("abc")
    safetensors.torch.save_file(state, place / "snapshots/abc/model.safetensors")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_the_hubs_file_is_read_from_its_cache(cache, caplog):
    caplog.set_level(logging.INFO, "pipeline")
    model = timm.create_model("pvt_v2_b0")
    hub(cache, "timm/pvt_v2_b0.in1k", model.state_dict())
    network = build_network(parameters("pvt_v2_b0", 32, weights={"source": "timm"}), 5, 0)
    ours, theirs = backbone_tensors(network), model.state_dict()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name.removeprefix("backbone.model.")]), name
    assert network.weights_license == "apache-2.0"
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert "heads in the file, not loaded: head.bias, head.weight" in caplog.text


def test_what_is_neither_backbone_nor_head_is_warned_of(cache, caplog):
    state = timm.create_model("pvt_v2_b0").state_dict() | {"decoder.weight": torch.zeros(1)}
    hub(cache, "timm/pvt_v2_b0.in1k", state)
    build_network(parameters("pvt_v2_b0", 32, weights={"source": "timm"}), 5, 0)
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert record.getMessage().endswith("unexpected (1): backbone.model.decoder.weight.")


def test_a_machine_that_is_offline_gets_the_name_of_the_file_to_bring(cache):
    with pytest.raises(ConfigError, match=rf"model.safetensors of .*timm/pvt_v2_b0.in1k .*{cache}"):
        build_network(parameters("pvt_v2_b0", 32, weights={"source": "timm"}), 5, 0)


def test_a_model_without_published_weights_says_so():
    assert not timm.get_pretrained_cfg("convnextv2_small").hf_hub_id
    with pytest.raises(ConfigError, match=r"no weights for timm/convnextv2_small; set weights\.source"):
        hub_file("timm/convnextv2_small")


def test_efficientnet_lite_knows_streets():
    """The answers of the real file, its names converted, on a street of CamVid."""
    root = os.environ.get("SEGADAPT_DATA", "")
    file = Path(root, "weights/efficientnet_lite0_imagenet.pth")
    streets = sorted(Path(root, "camvid/images/val").glob("*.jpg"))
    if not file.is_file() or not streets:
        pytest.skip("needs weights/efficientnet_lite0_imagenet.pth and camvid/images/val in SEGADAPT_DATA")
    model = timm.create_model("tf_efficientnet_lite0").eval()
    state = torch.load(file, weights_only=True)
    model.load_state_dict(efficientnet_lite_tensors(state, model), strict=True)
    weights = {"source": str(file), "layout": "efficientnet_lite", "profile": "timm"}
    network = build_network(parameters("tf_efficientnet_lite0", 32, weights=weights), 5, 0).eval()
    pixels = np.array(Image.open(streets[0]).convert("RGB").resize((224, 224)))
    images = normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None], network.profile)
    with torch.no_grad():
        torch.testing.assert_close(
            network.backbone(images).last, model.forward_intermediates(images, intermediates_only=True)[-1]
        )
        best = model(images)[0].topk(10).indices.tolist()
    names = timm.data.ImageNetInfo()
    seen = {part for index in best for part in names.index_to_description(index).split(", ")}
    assert seen & STREET_THINGS, seen
