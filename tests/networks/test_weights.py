"""Initial weights: layouts, checksum, shares, refusals, and a real file."""

import hashlib
import logging
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.build import build_network, construct
from pipeline.networks.deeplab_v2 import DeepLabV2
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import NetworkParameters, WeightsParameters
from pipeline.networks.weight_files import find_weights, read_tensors
from pipeline.networks.weights import backbone_tensors, load_backbone

RESNET18 = NetworkParameters(backbone="resnet18", output_stride=16, dilations=(1,))
STREET_THINGS = {"traffic light", "streetcar", "cab", "minivan", "trolleybus", "street sign", "moving van"}
REAL_SHA256 = "e0888e2c55c50fde0a3f18f15d16e75990712e0be6d948efdb63d236c0132e72"


@pytest.fixture(scope="module")
def resnet18_state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        return dict(torchvision.models.resnet18(weights=None).state_dict())


def saved(folder: Path, state: dict[str, torch.Tensor], name: str = "weights.pth") -> WeightsParameters:
    torch.save(state, folder / name)
    return WeightsParameters(source=str(folder / name))


def heads_told(caplog):
    """What was said of heads, which is no warning."""
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    return [record.getMessage() for record in caplog.records]


def test_torchvision_layout_loads_every_backbone_tensor_and_names_the_classifier(
    tmp_path, resnet18_state, caplog
):
    caplog.set_level(logging.INFO)
    weights = saved(tmp_path, resnet18_state)
    network = build_network(RESNET18, 5, 0)
    before = {name: value.clone() for name, value in network.main.state_dict().items()}
    report = load_backbone(network, weights)
    assert report.loaded == report.expected == 100
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, resnet18_state[name]), name
    assert all(torch.equal(before[name], value) for name, value in network.main.state_dict().items())
    assert report.messages == ()
    assert heads_told(caplog) == ["weights.pth: heads in the file, not loaded: fc.weight, fc.bias."]


def test_safetensors_are_read_too(tmp_path, resnet18_state):
    safetensors.torch.save_file(resnet18_state, tmp_path / "weights.safetensors")
    network = build_network(RESNET18, 5, 0)
    report = load_backbone(network, WeightsParameters(source=str(tmp_path / "weights.safetensors")))
    assert report.loaded == 100
    assert torch.equal(network.backbone.conv1.weight, resnet18_state["conv1.weight"])


def test_the_factory_loads_the_weights_that_the_parameters_name(tmp_path, resnet18_state):
    weights = saved(tmp_path, resnet18_state)
    network = build_network(RESNET18.model_copy(update={"weights": weights}), 5, 0)
    assert torch.equal(network.backbone.layer4[1].conv2.weight, resnet18_state["layer4.1.conv2.weight"])


@pytest.mark.parametrize(("dropped", "loads"), [(5, True), (6, False)])
def test_at_least_95_percent_must_load(tmp_path, resnet18_state, dropped, loads):
    names = [name for name in resnet18_state if name.endswith("weight") and not name.startswith("fc")]
    state = {name: value for name, value in resnet18_state.items() if name not in names[:dropped]}
    state["extra.weight"] = torch.zeros(1)
    weights = saved(tmp_path, state)
    network = build_network(RESNET18, 5, 0)
    if loads:
        report = load_backbone(network, weights)
        assert report.loaded == 95
        assert "missing (5): backbone.conv1.weight" in report.messages[0]
        assert "unexpected (1): backbone.extra.weight" in report.messages[1]
    else:
        with pytest.raises(ConfigError, match=r"only 94 of 100 .*missing \(6\): backbone.conv1.weight"):
            load_backbone(network, weights)


def test_a_refused_file_changes_nothing(tmp_path, resnet18_state):
    network = build_network(RESNET18, 5, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    renamed = {f"module.{name}": value for name, value in resnet18_state.items()}
    with pytest.raises(ConfigError, match="only 0 of 100") as failure:
        load_backbone(network, saved(tmp_path, renamed))
    assert "missing (100)" in str(failure.value)
    assert "unexpected (122): backbone.module.conv1.weight" in str(failure.value)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_other_shapes_count_as_not_loaded(tmp_path, resnet18_state):
    state = dict(resnet18_state)
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    report = load_backbone(build_network(RESNET18, 5, 0), saved(tmp_path, state))
    assert report.loaded == 99
    assert "backbone.conv1.weight (64, 1, 7, 7) instead of (64, 3, 7, 7)" in report.messages[0]


def tiny_caffe_network(monkeypatch: pytest.MonkeyPatch, classes: int) -> DeepLabV2:
    monkeypatch.setattr("pipeline.networks.deeplab_v2.BLOCKS", (1, 1, 1, 1))
    monkeypatch.setattr("pipeline.networks.deeplab_v2.WIDTHS", (4, 4, 4, 4))
    network = construct(
        NetworkParameters(backbone="resnet101_caffe", levels="multi", profile="caffe"), classes
    )
    assert isinstance(network, DeepLabV2)
    return network


def caffe_weights(folder: Path, layout: str, state: dict[str, torch.Tensor]) -> WeightsParameters:
    torch.save(state, folder / "caffe.pth")
    return WeightsParameters(source=str(folder / "caffe.pth"), layout=layout, profile="caffe")


def test_caffe_layout_drops_the_first_component_and_skips_layer5(tmp_path, monkeypatch):
    donor, network = tiny_caffe_network(monkeypatch, 19), tiny_caffe_network(monkeypatch, 19)
    donated = backbone_tensors(donor)
    state = {f"Scale.{name}": value for name, value in donated.items() if "tracked" not in name}
    state["Scale.layer5.conv2d_list.0.weight"] = torch.full((19, 16, 3, 3), 7.0)
    report = load_backbone(network, caffe_weights(tmp_path, "caffe_resnet", state))
    assert report.loaded == report.expected == len(state) - 1
    assert all(torch.equal(value, donated[name]) for name, value in backbone_tensors(network).items())
    assert network.layer5.conv2d_list[0].weight.max() < 1


def test_a_head_of_another_class_count_is_dropped_with_a_message_never_copied_in_part(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    donor, network = tiny_caffe_network(monkeypatch, 19), tiny_caffe_network(monkeypatch, 7)
    heads = {name: value.clone() for name, value in network.state_dict().items() if name.startswith("layer5")}
    state = backbone_tensors(donor) | {
        name: value for name, value in donor.state_dict().items() if name.startswith("layer5")
    }
    state = {f"Scale.{name}": value for name, value in state.items()}
    report = load_backbone(network, caffe_weights(tmp_path, "caffe_resnet", state))
    assert report.loaded == report.expected
    (told,) = heads_told(caplog)
    assert "heads in the file, not loaded: Scale.layer5.conv2d_list.0.weight" in told
    assert all(torch.equal(network.state_dict()[name], value) for name, value in heads.items())


def test_another_input_profile_is_refused(tmp_path):
    network = build_network(NetworkParameters(backbone="resnet18", profile="unit"), 3, 0)
    with pytest.raises(ConfigError, match="input profile torch, the network reads unit"):
        load_backbone(network, WeightsParameters(source=str(tmp_path / "never-read.pth")))


def test_another_checksum_is_refused_with_both_sums(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    found = hashlib.sha256(b"anything").hexdigest()
    with pytest.raises(ConfigError, match=f"SHA-256 is {found}, weights.sha256 says {'0' * 64}"):
        find_weights(WeightsParameters(source=str(path), sha256="0" * 64), "resnet18")
    assert find_weights(WeightsParameters(source=str(path), sha256=found), "resnet18") == path


def test_variables_in_the_path(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"")
    monkeypatch.setenv("SOME_WEIGHTS", str(tmp_path))
    assert find_weights(WeightsParameters(source="${SOME_WEIGHTS}/a.pth"), "resnet18") == tmp_path / "a.pth"
    with pytest.raises(ConfigError, match=r"there is no file .*b\.pth"):
        find_weights(WeightsParameters(source="${SOME_WEIGHTS}/b.pth"), "resnet18")
    monkeypatch.delenv("SOME_WEIGHTS")
    with pytest.raises(ConfigError, match="environment variable SOME_WEIGHTS is not set"):
        find_weights(WeightsParameters(source="${SOME_WEIGHTS}/a.pth"), "resnet18")


def test_torchvision_weights_are_its_own_download_of_the_first_version(tmp_path, monkeypatch):
    asked = []

    def download(url, path, sha256):
        asked.append((url, sha256))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"file")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("pipeline.networks.weight_files.download", download)
    for _ in range(2):
        path = find_weights(WeightsParameters(source="torchvision"), "resnet101_caffe")
    assert path == tmp_path / "checkpoints" / "resnet101-63fe2227.pth"
    assert asked == [("https://download.pytorch.org/models/resnet101-63fe2227.pth", "63fe2227")]


def test_offline_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("pipeline.networks.weight_files.download", lambda *_: pytest.fail("it asked the net"))
    with pytest.raises(
        ConfigError, match=r"resnet18-f37072fd.pth is not here and nothing is fetched offline"
    ):
        find_weights(WeightsParameters(source="torchvision"), "resnet18")


def package(folder: Path, files: tuple[str, ...]) -> None:
    """An installed package with empty files."""
    about = folder / "some_weights-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n")
    (about / "RECORD").write_text("".join(f"{name},,\n" for name in ("some_weights/__init__.py", *files)))


def test_weights_of_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    weights = WeightsParameters(source="pypi:some-weights")
    with pytest.raises(ConfigError, match=r"not installed; run `pip install some-weights`"):
        find_weights(weights, "resnet18")
    package(tmp_path, ("some_weights/models/net.pth",))
    assert find_weights(weights, "resnet18") == tmp_path / "some_weights/models/net.pth"
    (tmp_path / "some_weights-1.0.dist-info/RECORD").write_text("a.pth,,\nb.pth,,\n")
    with pytest.raises(ConfigError, match="holds 2 files of tensors and one is needed"):
        find_weights(weights, "resnet18")


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    def download(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("pipeline.networks.weight_files.download", download)
    with pytest.raises(ConfigError, match=r"no route to host\); fetch it elsewhere.*resnet18-f37072fd.pth"):
        find_weights(WeightsParameters(source="torchvision"), "resnet18")


class Payload:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_code_in_a_weight_file_never_runs(tmp_path, write):
    write({"conv1.weight": Payload(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="not a readable file of tensors"):
        read_tensors(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a file of tensors at all"])
def test_damaged_files_are_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name}: not a readable file of tensors"):
        read_tensors(tmp_path / name)


def test_a_file_that_holds_more_than_tensors_is_refused_with_its_keys(tmp_path):
    torch.save({"epoch": 3, "model": {"a": torch.zeros(1)}}, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="found epoch, model, need a mapping"):
        read_tensors(tmp_path / "weights.pth")


@pytest.mark.data
def test_the_real_mobilenet_weights_load_and_see_something():
    root = os.environ.get("SEGADAPT_DATA")
    if not root or not Path(root, "weights/mobilenet_v2_imagenet.pth").is_file():
        pytest.skip("needs weights/mobilenet_v2_imagenet.pth in SEGADAPT_DATA")
    weights = WeightsParameters(
        source="${SEGADAPT_DATA}/weights/mobilenet_v2_imagenet.pth", sha256=REAL_SHA256
    )
    parameters = NetworkParameters(backbone="mobilenet_v2", output_stride=16, dilations=(1,), weights=weights)
    network = build_network(parameters, 11, 0).eval()
    street = sorted(Path(root, "camvid/images/val").glob("*.jpg"))
    if not street:
        pytest.skip("needs camvid/images/val in SEGADAPT_DATA")
    pixels = torch.frombuffer(
        bytearray(Image.open(street[0]).convert("RGB").resize((224, 224)).tobytes()), dtype=torch.uint8
    )
    images = normalise(pixels.view(224, 224, 3).permute(2, 0, 1)[None], network.profile)
    state = read_tensors(find_weights(weights, "mobilenet_v2"))
    with torch.no_grad():
        pooled = network(images).feature.mean((2, 3))
        probabilities = (pooled @ state["classifier.1.weight"].T + state["classifier.1.bias"]).softmax(1)[0]
    names = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    seen = {names[index] for index in probabilities.topk(10).indices.tolist()}
    assert seen & STREET_THINGS, seen
