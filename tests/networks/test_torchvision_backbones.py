"""torchvision backbones under the common heads: strides, dilations, skip, levels, unique parameters."""

import pytest
import torch
import torchvision

from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.torchvision_backbones import MobileNetEncoder, ResNetEncoder
from pipeline.numerics.randomness import seeded

BACKBONES = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large")
CHANNELS = {
    "resnet18": (64, 256, 512),
    "resnet50": (256, 1024, 2048),
    "mobilenet_v2": (24, 96, 1280),
    "mobilenet_v3_large": (24, 112, 960),
}


def encoder(name, output_stride):
    return (ResNetEncoder if name.startswith("resnet") else MobileNetEncoder)(name, output_stride)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_feature_grids(name, output_stride):
    with torch.device("meta"):
        backbone = encoder(name, output_stride)
        low, previous, last, _ = backbone(torch.empty(1, 3, 64, 96))
    previous_stride = min(16, output_stride)
    assert backbone.channels[:3] == CHANNELS[name]
    assert low.shape == (1, CHANNELS[name][0], 16, 24)
    assert previous.shape == (1, CHANNELS[name][1], 64 // previous_stride, 96 // previous_stride)
    assert last.shape == (1, CHANNELS[name][2], 64 // output_stride, 96 // output_stride)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_large"])
def test_output_stride_32_equals_torchvision(name):
    with seeded(0, "network"):
        backbone = encoder(name, 32).eval()
        model = torchvision.models.get_model(name, weights=None).eval()
    model.load_state_dict(backbone.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        if name == "resnet18":
            x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
            expected = model.layer4(model.layer3(model.layer2(model.layer1(x))))
        else:
            expected = model.features(images)
        torch.testing.assert_close(backbone(images).last, expected)


def test_dilation_equals_torchvisions_own_for_resnet50():
    with torch.device("meta"):
        ours = encoder("resnet50", 8)
        theirs = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])
    for name, module in theirs.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            mine = ours.get_submodule(name)
            assert (mine.stride, mine.dilation, mine.padding) == (
                module.stride,
                module.dilation,
                module.padding,
            ), name


def test_dilation_equals_torchvisions_own_for_mobilenet_v3():
    with torch.device("meta"):
        ours = encoder("mobilenet_v3_large", 16)
        theirs = torchvision.models.mobilenet_v3_large(dilated=True)
    # torchvision dilates the block that loses its stride too; the blocks after it must agree.
    for index in (14, 15):
        mine = [m.dilation for m in ours.features[index].modules() if isinstance(m, torch.nn.Conv2d)]
        assert mine == [
            m.dilation for m in theirs.features[index].modules() if isinstance(m, torch.nn.Conv2d)
        ]


@pytest.mark.parametrize("name", BACKBONES)
def test_skip_gives_logits_at_stride_4_and_multi_an_aux_head(name):
    parameters = NetworkParameters(
        backbone=name, output_stride=16, dilations=(1, 3), skip=True, levels="multi"
    )
    with torch.device("meta"):
        network = construct(parameters, 5)
        output = network(torch.empty(2, 3, 64, 96))
        again = network.classify(output.feature, output.skip)
    assert output.main.shape == again.shape == (2, 5, 16, 24)
    assert output.aux.shape == (2, 5, 4, 6)
    assert output.feature.shape == (2, network.feature_channels, 4, 6)


def test_skip_reaches_the_logits():
    parameters = NetworkParameters(backbone="resnet18", output_stride=16, dilations=(1,), skip=True)
    with seeded(0, "network"):
        network = construct(parameters, 3).eval()
    output = network(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(network.classify(output.feature, output.skip), output.main)
    assert not torch.allclose(network.classify(output.feature, output.skip * 2), output.main)
    assert not torch.allclose(network.classify(output.feature * 2, output.skip), output.main)
