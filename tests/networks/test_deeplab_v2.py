"""DeepLab-v2 on the Caffe-style ResNet-101: counts, grids, names, heads, initialisation; mostly on meta."""

import pytest
import torch
from torch import nn

from pipeline.networks.build import construct
from pipeline.networks.deeplab_v2 import Bottleneck, DeepLabV2
from pipeline.networks.heads import AsppSum
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.randomness import seeded

MULTI = NetworkParameters(
    backbone="resnet101_caffe", levels="multi", profile="caffe", batch_norm="batch_frozen_affine"
)
PLCA = NetworkParameters(
    backbone="resnet101_caffe", head_bias=False, profile="caffe", batch_norm="train", align_corners=False
)


def on_meta(parameters: NetworkParameters, num_classes: int = 19) -> DeepLabV2:
    with torch.device("meta"):
        network = construct(parameters, num_classes)
    assert isinstance(network, DeepLabV2)
    return network


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_of_the_multi_level_network():
    network = on_meta(MULTI)
    assert count(network.layer5) == 700_492
    assert count(network.layer6) == 1_400_908
    assert count(network) == 44_601_560
    assert count(network) - count(network.layer5) - count(network.layer6) == 42_500_160
    trainable = [*network.backbone_parameters(), *network.head_parameters()]
    assert sum(parameter.numel() for parameter in trainable) == 44_496_216
    assert {id(p) for p in trainable} == {id(p) for p in network.parameters() if p.requires_grad}


def test_parameter_count_of_the_plca_network():
    network = on_meta(PLCA)
    assert count(network) == 43_900_992
    assert all(branch.bias is None for branch in network.layer5.conv2d_list)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((512, 1024), (65, 129)),
        ((720, 1280), (91, 161)),
        ((760, 1280), (96, 161)),
        ((730, 730), (92, 92)),
        ((730, 1460), (92, 183)),
        ((922, 1843), (116, 231)),
    ],
)
def test_grid(size, grid):
    output = on_meta(MULTI)(torch.empty(1, 3, *size, device="meta"))
    assert output.main.shape == (1, 19, *grid)
    assert output.aux.shape == (1, 19, *grid)
    assert output.feature.shape == (1, 2048, *grid)


def test_strides_and_dilations_stand_on_the_right_convolutions():
    network = on_meta(MULTI)
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    assert [len(stage) for stage in stages] == [3, 4, 23, 3]
    for stage, stride, dilation in zip(stages, (1, 2, 1, 1), (1, 1, 2, 4), strict=True):
        first: Bottleneck = stage[0]
        assert first.conv1.stride == first.downsample[0].stride == (stride, stride)
        assert all(block.conv2.stride == (1, 1) for block in stage)
        assert all(block.conv2.dilation == block.conv2.padding == (dilation, dilation) for block in stage)
        assert [block.downsample is not None for block in stage] == [True] + [False] * (len(stage) - 1)


def test_tensor_names_of_public_checkpoints():
    names = set(on_meta(MULTI).state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer3.22.bn3.bias",
        "layer4.0.downsample.0.weight",
        "layer4.0.downsample.1.weight",
        "layer5.conv2d_list.0.weight",
        "layer6.conv2d_list.3.bias",
    } <= names
    assert {name.split(".")[0] for name in names} == {"conv1", "bn1", *(f"layer{i}" for i in range(1, 7))}
    assert not any(name.startswith("layer6") for name in on_meta(PLCA).state_dict())


def test_single_level_has_no_aux_and_a_2048_channel_head_named_layer5():
    network = on_meta(PLCA)
    assert network.layer5.conv2d_list[0].in_channels == 2048
    assert network(torch.empty(1, 3, 33, 33, device="meta")).aux is None


def test_aspp_all_and_legacy_two_differ_by_the_last_two_branches():
    feature = torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    with seeded(0, "head"):
        every = AsppSum(8, 3, NetworkParameters(backbone="small"))
    with seeded(0, "head"):
        legacy = AsppSum(8, 3, NetworkParameters(backbone="small", aspp="legacy_two"))
    assert every.state_dict().keys() == legacy.state_dict().keys()
    branches = [branch(feature) for branch in every.conv2d_list]
    torch.testing.assert_close(every(feature), sum(branches))
    torch.testing.assert_close(legacy(feature), branches[0] + branches[1])
    assert (every(feature) - legacy(feature)).abs().max() > 1e-3


def test_branches_that_are_never_evaluated_are_not_trained():
    network = on_meta(MULTI.model_copy(update={"aspp": "legacy_two"}))
    names = {name for name, p in network.named_parameters() if not p.requires_grad and "conv2d_list" in name}
    assert names == {
        f"{head}.conv2d_list.{branch}.{part}"
        for head in ("layer5", "layer6")
        for branch in (2, 3)
        for part in ("weight", "bias")
    }


@pytest.mark.parametrize(("parameters", "head_std"), [(MULTI, 0.01), (PLCA, 1 / (3 * 2048 * 9) ** 0.5)])
def test_initialisation(parameters, head_std):
    with seeded(0, "network"):
        network = DeepLabV2(parameters, 19)
    for convolution in (network.conv1, network.layer4[2].conv2, network.layer1[0].downsample[0]):
        assert convolution.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert torch.equal(network.bn1.weight, torch.ones(64))
    assert torch.equal(network.bn1.bias, torch.zeros(64))
    head = network.get_submodule(network.head_roles["main"]).conv2d_list[0]
    # N(0, 0.01^2), or uniform of half-width 1 / sqrt(fan_in), whose deviation is that over sqrt(3).
    assert head.weight.std().item() == pytest.approx(head_std, rel=0.05)
    if parameters.head_bias:
        bound = 1 / (2048 * 9) ** 0.5
        assert head.bias.abs().max().item() <= bound
        assert head.bias.std().item() > bound / 4


def test_classify_repeats_the_main_head():
    network = on_meta(MULTI)
    assert network.classify(torch.empty(2, 2048, 5, 7, device="meta")).shape == (2, 19, 5, 7)
