"""The three BatchNorm modes: which statistics the forward reads, what it updates, what gets gradients."""

import copy

import pytest
import torch
from torch import nn

from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.batch_norm import synchronise
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = 2 + 3 * torch.randn(4, 3, 32, 32, generator=GENERATOR)
OTHERS = 5 * torch.randn(4, 3, 32, 32, generator=GENERATOR) - 4


def network_in(mode: str) -> SegmentationNetwork:
    network = build_network(NetworkParameters(backbone="dtn", batch_norm=mode), 3, 0)
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    return network.train()


def first_layer(network: SegmentationNetwork) -> nn.BatchNorm2d:
    layer = network.backbone[1]
    assert isinstance(layer, nn.BatchNorm2d)
    return layer


def statistics(network: SegmentationNetwork) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if "running" in name}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("mode", "updates", "trains_affine", "reads_batch"),
    [
        ("frozen", False, False, False),
        ("batch_frozen_affine", True, False, True),
        ("train", True, True, True),
    ],
)
def test_what_a_training_forward_reads_updates_and_trains(mode, updates, trains_affine, reads_batch):
    network = network_in(mode)
    before = statistics(network)
    alone = network(IMAGES[:2]).main
    network.load_state_dict(before, strict=False)
    together = network(IMAGES).main[:2]
    assert torch.allclose(alone, together, atol=1e-4) != reads_batch
    assert changed(before, statistics(network)) == updates
    together.sum().backward()
    layer = first_layer(network)
    assert (layer.weight.grad is not None) == trains_affine
    assert (layer.bias.grad is not None) == trains_affine
    assert network.backbone[0].weight.grad is not None
    listed = {id(parameter) for parameter in network.backbone_parameters()}
    assert (id(layer.weight) in listed) == trains_affine


@pytest.mark.parametrize("mode", ["frozen", "batch_frozen_affine", "train"])
def test_evaluation_reads_running_statistics_and_changes_nothing(mode):
    network = network_in(mode)
    network(IMAGES)
    network.eval()
    before = copy.deepcopy(network.state_dict())
    torch.testing.assert_close(network(IMAGES[:2]).main, network(IMAGES).main[:2], atol=1e-4, rtol=1e-4)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_running_mean_moves_by_a_tenth_towards_each_batch():
    network = network_in("batch_frozen_affine")
    convolution = network.backbone[0]
    network(IMAGES)
    network(OTHERS)
    with torch.no_grad():
        means = [convolution(images).mean((0, 2, 3)) for images in (IMAGES, OTHERS)]
    expected = 0.9 * (0.1 * means[0]) + 0.1 * means[1]
    torch.testing.assert_close(first_layer(network).running_mean, expected, rtol=1e-4, atol=1e-5)


def test_train_after_eval_keeps_frozen_layers_frozen():
    network = network_in("frozen")
    network.eval()
    network.train()
    assert network.training
    assert not first_layer(network).training
    assert network.main.training


def test_only_mode_train_is_synchronised_over_processes():
    synchronised = synchronise(network_in("train"), "train")
    assert isinstance(synchronised.backbone[1], nn.SyncBatchNorm)
    assert not isinstance(synchronise(network_in("frozen"), "frozen").backbone[1], nn.SyncBatchNorm)


@pytest.mark.parametrize("mode", ["frozen", "batch_frozen_affine", "train"])
def test_batches_are_not_counted_and_all_else_is_torchs(mode):
    network = network_in(mode)
    layer = first_layer(network)
    usual = nn.BatchNorm2d(layer.num_features)
    usual.load_state_dict(layer.state_dict())
    usual.train(mode != "frozen")
    maps = network.backbone[0](IMAGES)
    assert torch.equal(layer(maps), usual(maps))
    for name, value in usual.state_dict().items():
        counted = name == "num_batches_tracked" and mode != "frozen"
        assert torch.equal(layer.state_dict()[name], value) is not counted
