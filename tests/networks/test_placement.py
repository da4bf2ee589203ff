"""The form that a network takes on a CPU: the same function, gradients and state dict as the network as built."""

import copy

import pytest
import torch
from torch import nn

from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.placement import FoldedBatchNorm2d, QuickConv2d, place
from pipeline.numerics.randomness import seeded_weights

CPU = torch.device("cpu")
OPTIONS = {
    "mobilenet_v2": {"output_stride": 16, "skip": True, "levels": "multi"},
    "mobilenet_v3_large": {"output_stride": 16, "skip": True},
    "resnet18": {"output_stride": 16, "levels": "multi"},
    "resnet50": {},
    "resnet101_caffe": {},
    "lenet": {},
    "dtn": {},
    "timm/pvt_v2_b0": {"output_stride": 32, "skip": True},
    "timm/convnext_atto": {"output_stride": 16, "skip": True},
    "timm/tf_efficientnet_lite0": {"output_stride": 16, "levels": "multi"},
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def built(backbone, mode="frozen"):
    """A network whose BatchNorm is not the identity."""
    with seeded_weights(0):
        network = construct(NetworkParameters(backbone=backbone, batch_norm=mode, **OPTIONS[backbone]), 4)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.running_var):
                    nn.init.uniform_(tensor, 0.5, 1.5)
                for tensor in (layer.bias, layer.running_mean):
                    nn.init.uniform_(tensor, -0.2, 0.2)
            if isinstance(layer, nn.Dropout | nn.Dropout2d):
                layer.p = 0.0
    return network


def placed(network):
    network = copy.deepcopy(network)
    place(network, CPU)
    return network


def images_for(network):
    side = getattr(network, "side", 64)
    return IMAGES[:, :, :side, :side]


def gradients(network):
    network.double()
    output = network(images_for(network).double())
    (output.main.square().sum() + (0 if output.aux is None else output.aux.sum())).backward()
    return output.main.detach(), {name: tensor.grad for name, tensor in network.named_parameters()}


@pytest.mark.parametrize("backbone", OPTIONS)
def test_a_placed_network_computes_the_same(backbone):
    plain = built(backbone)
    quick = placed(plain)
    assert list(quick.state_dict()) == list(plain.state_dict())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(quick.state_dict()[name], tensor)
    (wanted, wanted_gradients), (found, found_gradients) = gradients(plain), gradients(quick)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)
    for name, gradient in wanted_gradients.items():
        if gradient is None:
            assert found_gradients[name] is None
        else:
            assert (found_gradients[name] - gradient).norm() <= 1e-7 * (gradient.norm() + 1e-6), name


@pytest.mark.parametrize("backbone", [name for name in OPTIONS if not name.startswith("timm/")])
def test_every_convolution_is_quick_and_every_frozen_norm_folded(backbone):
    layers = list(placed(built(backbone)).modules())
    assert {type(layer) for layer in layers if isinstance(layer, nn.Conv2d)} == {QuickConv2d}
    assert {type(layer) for layer in layers if isinstance(layer, nn.BatchNorm2d)} <= {FoldedBatchNorm2d}


def test_layers_that_are_timms_own_are_left_alone():
    network = built("timm/tf_efficientnet_lite0")
    kinds = [type(layer) for layer in network.modules()]
    quick = [type(layer) for layer in placed(network).modules()]
    changed = {(before, after) for before, after in zip(kinds, quick, strict=True) if before is not after}
    assert changed == {(nn.Conv2d, QuickConv2d)}


@pytest.mark.parametrize("mode", ["batch_frozen_affine", "train"])
def test_norms_with_batch_statistics_stay(mode):
    plain = built("mobilenet_v2", mode)
    quick = placed(plain)
    assert not any(isinstance(layer, FoldedBatchNorm2d) for layer in quick.modules())
    for network in (plain, quick):
        network.double()(IMAGES.double())
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(quick.state_dict()[name], tensor)


def test_frozen_parts_are_folded_whatever_the_mode():
    network = built("mobilenet_v2", "train")
    network.freeze_below(8)
    quick = placed(network.train())
    folded = [name for name, layer in quick.named_modules() if isinstance(layer, FoldedBatchNorm2d)]
    norms = [name for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert folded == [name for name in norms if int(name.split(".")[2]) < 7]


def test_tensors_loaded_later_are_folded():
    plain, other = built("mobilenet_v2"), placed(built("mobilenet_v2"))
    with torch.no_grad():
        for tensor in plain.state_dict().values():
            tensor.mul_(1.1 if tensor.is_floating_point() else 1)
    other.load_state_dict(plain.state_dict())
    torch.testing.assert_close(other(IMAGES).main, plain(IMAGES).main, rtol=1e-3, atol=1e-4)


def test_a_copy_folds_its_own_norms():
    quick = placed(built("resnet18"))
    copied = copy.deepcopy(quick)
    assert copied.backbone.conv1.folded[0] is copied.backbone.bn1
    assert copied.backbone.bn1 is not quick.backbone.bn1


def test_group_norm_keeps_a_network_as_built():
    with seeded_weights(0):
        network = construct(NetworkParameters(backbone="small", skip=True), 4)
    place(network, CPU)
    assert not any(isinstance(layer, QuickConv2d) for layer in network.modules())


def test_elsewhere_than_on_a_cpu_layers_stay():
    network = built("resnet18")
    place(network, torch.device("meta"))
    assert not any(isinstance(layer, QuickConv2d | FoldedBatchNorm2d) for layer in network.modules())


def test_only_a_norm_right_behind_is_folded():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.other, self.norm = nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)

    quick = Branching().eval()
    place(quick, CPU)
    assert type(quick.norm) is nn.BatchNorm2d and quick.first.folded == ()


@pytest.mark.parametrize("enabled", [False, True])
def test_autocast_decides_the_dtype(enabled):
    quick = placed(built("mobilenet_v2"))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        assert quick(IMAGES).main.dtype == (torch.bfloat16 if enabled else torch.float32)
