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


def test_a_network_has_one_level_unless_told():
    assert NetworkParameters(backbone="resnet101_caffe").levels == "single"
