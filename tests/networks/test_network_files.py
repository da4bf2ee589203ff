"""Networks on disk: round trip, damage, mixed pairs, and starting a child from a parent."""

import json
import os
import stat

import pytest
import safetensors.torch
import torch

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.networks.build import build_network
from pipeline.networks.files import (
    build_from,
    initialise_from,
    load_network,
    read_record,
    record_path,
    save_network,
)
from pipeline.networks.parameters import NetworkParameters, WeightsParameters

SMALL = NetworkParameters(backbone="small", dilations=(1, 3, 6), levels="multi", skip=True)
DTN = NetworkParameters(backbone="dtn", batch_norm="train", profile="unit")
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def other(parameters=SMALL, **changes):
    return parameters.model_copy(update=changes)


@pytest.fixture
def saved(tmp_path):
    network = build_network(SMALL, 4, 0)
    path = tmp_path / "step-600.safetensors"
    save_network(path, network, {"step": 600, "classes": ["a", "b", "c", "d"]})
    return path


def edit_record(path, **changes):
    record = json.loads(record_path(path).read_text())
    record_path(path).write_text(json.dumps(record | changes))


def test_round_trip(tmp_path, saved):
    network, meta = load_network(saved)
    original = build_network(SMALL, 4, 0).eval()
    assert meta == {"step": 600, "classes": ["a", "b", "c", "d"]}
    assert network.parameters_spec == SMALL
    assert network.num_classes == 4
    assert not network.training
    assert torch.equal(network(IMAGES).main, original(IMAGES).main)
    assert torch.equal(network(IMAGES).aux, original(IMAGES).aux)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-600.json", "step-600.safetensors"]


def test_a_loaded_network_can_be_trained_on_and_saves_the_same_bytes(tmp_path):
    network = build_network(DTN, 10, 0)
    network(IMAGES)
    save_network(tmp_path / "a.safetensors", network, {})
    loaded, _ = load_network(tmp_path / "a.safetensors")
    save_network(tmp_path / "b.safetensors", loaded, {})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    loaded.train()(IMAGES).main.sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


@pytest.mark.parametrize("mode", ["frozen", "train"])
def test_batch_norm_modes_survive(tmp_path, mode):
    save_network(tmp_path / "a.safetensors", build_network(other(DTN, batch_norm=mode), 10, 0), {})
    loaded, _ = load_network(tmp_path / "a.safetensors")
    assert loaded.batch_norm_mode == mode
    assert loaded.backbone[1].weight.requires_grad == (mode == "train")
    assert loaded.train().backbone[1].training == (mode == "train")


def test_the_arithmetic_of_the_training_survives(tmp_path, saved):
    network = build_network(SMALL, 4, 0)
    network.precision = "bfloat16"
    save_network(tmp_path / "a.safetensors", network, {})
    assert load_network(tmp_path / "a.safetensors")[0].precision == "bfloat16"
    assert load_network(saved)[0].precision == "tf32"


def test_the_licence_of_the_initial_weights_follows_through_the_chain(tmp_path, saved):
    network = build_network(SMALL, 4, 0)
    network.weights_license = "Apache-2.0"
    save_network(tmp_path / "a.safetensors", network, {})
    child, _ = build_from(tmp_path / "a.safetensors", SMALL, 4, seed=1)
    save_network(tmp_path / "b.safetensors", child, {})
    assert read_record(tmp_path / "b.safetensors").weights_license == "Apache-2.0"
    assert "license" not in record_path(saved).read_text()


def test_channels_last_changes_no_byte(tmp_path, saved):
    network = build_network(SMALL, 4, 0).to(memory_format=torch.channels_last)
    save_network(tmp_path / "b.safetensors", network, {})
    assert (tmp_path / "b.safetensors").read_bytes() == saved.read_bytes()


def test_the_folder_of_the_initial_weights_is_not_recorded(tmp_path):
    network = build_network(other(DTN, batch_norm="train"), 10, 0)
    weights = WeightsParameters(source="/somewhere/else/net.pth", sha256="0" * 64)
    network.parameters_spec = NetworkParameters(backbone="resnet18", weights=weights)
    save_network(tmp_path / "a.safetensors", network, {})
    assert "somewhere" not in (tmp_path / "a.json").read_text()
    assert '"net.pth"' in (tmp_path / "a.json").read_text()


def test_a_changed_byte_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(
        ArtifactError, match=r"step-600\.safetensors: not the file that step-600\.json describes"
    ):
        load_network(saved)


def test_tensors_and_record_of_different_saves_are_not_mixed(tmp_path, saved):
    record = record_path(saved).read_bytes()
    save_network(saved, build_network(SMALL, 4, 1), {})
    record_path(saved).write_bytes(record)
    with pytest.raises(ArtifactError, match="not the file that"):
        load_network(saved)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_missing_file_is_named(saved, suffix):
    saved.with_suffix(suffix).unlink()
    with pytest.raises(ArtifactError, match=rf"step-600\{suffix} is missing"):
        load_network(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 5}, r"tensors do not fit small with 5 classes, the first: aux.conv2d_list.0.bias"),
        ({"network": {"backbone": "dtn"}}, "tensors do not fit dtn"),
        ({"network": {"backbone": "vgg"}}, "network.backbone: .*valid: dtn, lenet, mobilenet_v2"),
        ({"format": 2}, "not the record of a network of this version"),
        ({"surprise": 1}, "surprise: Extra inputs"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(saved, changes, message):
    edit_record(saved, **changes)
    with pytest.raises(ArtifactError, match=message):
        load_network(saved)


def test_a_profile_with_other_numbers_is_refused(saved):
    profile = json.loads(record_path(saved).read_text())["profile"]
    edit_record(saved, profile=profile | {"scale": 1.0})
    with pytest.raises(ArtifactError, match="input profile torch has other numbers"):
        read_record(saved)


def test_a_save_honours_the_umask_and_leaves_the_bytes_of_artifacts_as_they_were(tmp_path):
    network = build_network(SMALL, 4, 0)
    before = os.umask(0o022)
    try:
        save_network(tmp_path / "net.safetensors", network, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.safetensors").stat().st_mode) == 0o644
    safetensors.torch.save_file(network.state_dict(), tmp_path / "same.safetensors")
    assert (tmp_path / "net.safetensors").read_bytes() == (tmp_path / "same.safetensors").read_bytes()


def test_no_library_writes_into_an_artifact_under_a_name_of_its_own(tmp_path, monkeypatch):
    """A kill would leave that file among the artifact's, and change its digest."""
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_: pytest.fail("it writes `.tmp...` first"))
    save_network(tmp_path / "net.safetensors", build_network(SMALL, 4, 0), {})


def test_an_interrupted_save_leaves_the_old_pair(saved, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save", fail)
    with pytest.raises(OSError, match="no space left"):
        save_network(saved, build_network(SMALL, 4, 1), {})
    assert load_network(saved)[1]["step"] == 600
    assert len(list(saved.parent.iterdir())) == 2


def test_a_child_starts_from_its_parent(saved):
    parent, _ = load_network(saved)
    child, report = build_from(saved, SMALL, 4, seed=9)
    assert report.messages == ()
    assert child.training
    state = child.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in parent.state_dict().items())


def test_a_childs_weight_file_is_not_needed(tmp_path):
    plain = NetworkParameters(backbone="resnet18", output_stride=16, dilations=(1,))
    save_network(tmp_path / "a.safetensors", build_network(plain, 3, 0), {})
    parameters = other(plain, weights=WeightsParameters(source="/nowhere.pth"))
    child, _ = build_from(tmp_path / "a.safetensors", parameters, 3, seed=1)
    assert child.parameters_spec == parameters


def test_heads_of_another_class_count_start_anew_with_a_message(saved):
    parent, _ = load_network(saved)
    fresh = build_network(SMALL, 6, 9).state_dict()
    child, report = build_from(saved, SMALL, 6, seed=9)
    assert len(report.messages) == 2
    assert "main head of step-600.safetensors (for 4 classes) has other shapes" in "".join(report.messages)
    for name, value in child.state_dict().items():
        expected = fresh if child.belongs_to_head(name) else parent.state_dict()
        assert torch.equal(value, expected[name]), name


def test_a_child_with_one_level_more_keeps_the_main_head(tmp_path):
    single = other(levels="single")
    save_network(tmp_path / "a.safetensors", build_network(single, 4, 0), {})
    child, report = build_from(tmp_path / "a.safetensors", SMALL, 4, seed=9)
    assert report.messages == ("a.safetensors has no aux head: ours starts at random",)
    parent, _ = load_network(tmp_path / "a.safetensors")
    assert torch.equal(child.main.classifier.weight, parent.main.classifier.weight)


def test_heads_of_other_dilations_start_anew(saved):
    _, report = build_from(saved, other(dilations=(1, 2, 3)), 4, seed=9)
    assert "has dilations (1, 3, 6), ours (1, 2, 3)" in report.messages[0]


@pytest.mark.parametrize(
    ("parent", "child", "message"),
    [
        (SMALL, other(aspp="legacy_two"), "trained with aspp: all, this network has legacy_two"),
        (SMALL, other(profile="unit"), "trained with profile: torch, this network has unit"),
        (DTN, NetworkParameters(backbone="lenet", profile="unit"), "trained with backbone: dtn"),
    ],
)
def test_networks_that_must_not_be_mixed_are_refused(tmp_path, parent, child, message):
    save_network(tmp_path / "a.safetensors", build_network(parent, 4, 0), {})
    with pytest.raises(ConfigError, match=message):
        initialise_from(build_network(child, 4, 0), tmp_path / "a.safetensors")
