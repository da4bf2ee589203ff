"""LeNet and DTN: layers against the fully connected form, one-pixel maps, sizes, initialisation."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.artifacts.errors import DataError
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters

LENET = NetworkParameters(backbone="lenet", profile="unit")
DTN = NetworkParameters(backbone="dtn", profile="unit", batch_norm="train")


def test_lenet_equals_its_fully_connected_form():
    network = build_network(LENET, 10, 0).eval()
    grey = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    state = network.state_dict()
    x = F.relu(F.max_pool2d(F.conv2d(grey, state["backbone.0.weight"], state["backbone.0.bias"]), 2))
    x = F.relu(F.max_pool2d(F.conv2d(x, state["backbone.2.weight"], state["backbone.2.bias"]), 2))
    feature = F.linear(x.flatten(1), state["backbone.5.weight"].flatten(1), state["backbone.5.bias"])
    logits = F.linear(F.relu(feature), state["main.2.weight"].flatten(1), state["main.2.bias"])
    output = network(grey.expand(2, 3, 28, 28))
    assert output.main.shape == (2, 10, 1, 1)
    assert output.feature.shape == (2, 500, 1, 1)
    assert output.aux is None
    torch.testing.assert_close(output.main.flatten(1), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.feature.flatten(1), feature, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "side", "total"),
    [
        # 25*20+20, 500*50+50, 800*500+500, 500*10+10
        (LENET, 28, 520 + 25_050 + 400_500 + 5_010),
        # 75*64+64, 1600*128+128, 3200*256+256, 4096*512+512, BN 2*(64+128+256+512), 512*10+10
        (DTN, 32, 4_864 + 204_928 + 819_456 + 2_097_664 + 1_920 + 5_130),
    ],
)
def test_shapes_and_parameter_counts(parameters, side, total):
    network = build_network(parameters, 10, 0)
    assert sum(p.numel() for p in network.parameters()) == total
    output = network(torch.zeros(3, 3, side, side))
    assert output.main.shape == (3, 10, 1, 1)
    assert output.feature.shape == (3, network.feature_channels, 1, 1)
    assert network.label_size((side, side)) == (1, 1)


@pytest.mark.parametrize("parameters", [LENET, DTN])
def test_xavier_weights_and_zero_biases(parameters):
    network = build_network(parameters, 10, 0)
    weight, bias = network.main[2].weight, network.main[2].bias
    assert torch.equal(bias, torch.zeros(10))
    fan = weight.shape[0] + weight.shape[1]
    assert weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.05)
    # The layer over the whole map is a matrix: 800 x 500 and 4096 x 512.
    whole = [m for m in network.backbone.modules() if isinstance(m, torch.nn.Conv2d)][-1].weight.flatten(1)
    assert whole.std().item() == pytest.approx((2 / sum(whole.shape)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("parameters", [LENET, DTN])
def test_another_image_size_is_refused_with_the_right_one(parameters):
    with pytest.raises(DataError, match=r"found 16x16; set the task's size to \[(28, 28|32, 32)\]"):
        build_network(parameters, 10, 0)(torch.zeros(1, 3, 16, 16))


def test_dropout_only_while_training():
    network = build_network(LENET, 10, 0)
    images = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(network(images).main, network(images).main)
    network.eval()
    assert torch.equal(network(images).main, network(images).main)
