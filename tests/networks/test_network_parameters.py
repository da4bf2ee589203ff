"""Which combinations of network options are refused before anything runs."""

import pytest
from pydantic import ValidationError

from pipeline.networks.parameters import NetworkParameters, WeightsParameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "lenet", "skip": True}, "lenet takes only skip: False, found True"),
        ({"backbone": "dtn", "levels": "multi"}, "dtn takes only levels: single"),
        ({"backbone": "resnet101_caffe", "output_stride": 16}, "takes only output_stride: 8, found 16"),
        ({"backbone": "small", "batch_norm": "train"}, "small takes only batch_norm: frozen"),
        ({"backbone": "resnet18", "dilations": (1, 2), "aspp": "legacy_two"}, "at least 3 dilations"),
        ({"backbone": "resnet18", "dilations": ()}, "at least 1 item"),
        ({"backbone": "resnet18", "head": "daformer"}, "resnet18 takes only head: aspp, found daformer"),
        ({"backbone": "resnet18", "drop_path": 0.1}, "resnet18 takes only drop_path: 0.0"),
        ({"backbone": "resnet18", "output_stride": 32}, "only output_stride 8 or 16 and a profile of ours"),
        ({"backbone": "resnet18", "profile": "timm"}, "only output_stride 8 or 16 and a profile of ours"),
        ({"backbone": "resnet_18"}, "did you mean `resnet18`.* and timm/<name>"),
        ({"backbone": "timm/"}, "found 'timm/'"),
        ({"backbone": "timm/a", "head": "daformer"}, "needs batch_norm: train, found frozen"),
        ({"backbone": "timm/a", "head": "vit_light", "dilations": (1, 2)}, "vit_light has no dilations"),
        ({"backbone": "resnet18", "layer_decay": 0.9}, "resnet18 takes only layer_decay: 1.0"),
        ({"backbone": "timm/a", "head": "vit_light", "skip": True}, "vit_light takes only skip: False"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        NetworkParameters(**options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"source": "a.pth", "profile": "torch", "layout": "caffe_resnet"}, "trained with profile torch"),
        ({"source": "torchvision", "profile": "caffe"}, "source torchvision has layout torchvision"),
        ({"source": "https://example.org/a.pth"}, "a URL needs sha256"),
        ({"source": "a.pth", "sha256": "123"}, "pattern"),
    ],
)
def test_weights_that_contradict_the_network_are_refused(weights, message):
    with pytest.raises(ValidationError, match=message):
        NetworkParameters(backbone="resnet101_caffe", profile="caffe", weights=weights)


def test_the_caffe_layout_belongs_to_the_caffe_backbone():
    weights = WeightsParameters(source="a.pth", layout="caffe_resnet")
    with pytest.raises(ValidationError, match="need backbone resnet101_caffe, found resnet50"):
        NetworkParameters(backbone="resnet50", weights=weights)


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        ("resnet18", {"source": "timm"}, "trained with profile timm, the network has profile torch"),
        ("timm/a", {"source": "timm", "profile": "torch"}, "source timm has layout timm and profile timm"),
        ("timm/a", {"source": "a.pth", "profile": "timm"}, "layout torchvision do not fit backbone timm/a"),
    ],
)
def test_weights_of_timm_belong_to_its_models(backbone, weights, message):
    with pytest.raises(ValidationError, match=message):
        NetworkParameters(backbone=backbone, weights=weights)


def test_a_model_of_timm_reads_what_timm_says_unless_told():
    network = NetworkParameters(backbone="timm/a", weights={"source": "timm"})
    assert (network.profile, network.weights.layout, network.weights.profile) == ("timm", "timm", "timm")
    assert NetworkParameters(backbone="timm/a", profile="unit").profile == "unit"


def test_a_network_has_one_level_unless_told():
    assert NetworkParameters(backbone="resnet101_caffe").levels == "single"
