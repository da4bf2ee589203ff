"""Statistics taken from other images: the share, the chunks' mean, and a network that is left alone."""

import pytest
import torch
from torch import nn

from pipeline.networks.batch_norm import batch_norm_layers
from pipeline.networks.build import build_network
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.target_statistics import CHUNK, with_statistics_of


def built(mode="train"):
    network = build_network(NetworkParameters(backbone="resnet18", batch_norm=mode), 5, seed=0)
    return network.train()


def images(count, side=32):
    random = torch.Generator().manual_seed(count)
    return list(torch.randint(0, 256, (count, 3, side, side), generator=random, dtype=torch.uint8))


def first_statistics(network, chunk):
    """Mean and variance of what the first BatchNorm layer sees of a chunk, slowly."""
    seen = []
    layer = batch_norm_layers(network)[0]
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.eval()(normalise(torch.stack(chunk), network.profile))
    handle.remove()
    values = seen[0].transpose(0, 1).flatten(1).double()
    return values.mean(dim=1), values.var(dim=1)


@pytest.mark.parametrize("mode", ["train", "frozen"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_the_statistics(mode, share):
    network = built(mode)
    layer = batch_norm_layers(network)[0]
    layer.running_mean.fill_(0.7)
    pictures = images(CHUNK + 3)
    found = batch_norm_layers(with_statistics_of(network, pictures, share))[0]
    chunks = [first_statistics(network, chunk) for chunk in (pictures[:CHUNK], pictures[CHUNK:])]
    for own, value, place in ((0.7, found.running_mean, 0), (1.0, found.running_var, 1)):
        wanted = (1 - share) * own + share * (chunks[0][place] + chunks[1][place]) / 2
        torch.testing.assert_close(value.double(), wanted.expand_as(value), rtol=1e-4, atol=1e-5)


def test_the_network_is_left_alone_and_the_copy_is_usable():
    network = built()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    adapted = with_statistics_of(network, images(4), 0.5)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training and not adapted.training
    pairs = zip(batch_norm_layers(adapted), batch_norm_layers(network), strict=True)
    assert all(one.momentum == other.momentum for one, other in pairs)
    assert not any(isinstance(module, nn.BatchNorm2d) and module.training for module in adapted.modules())


def test_images_of_several_sizes_are_taken_in_turn():
    network = built()
    mixed = with_statistics_of(network, [*images(3), *images(2, 48)], 1.0).state_dict()
    alone = [with_statistics_of(network, part, 1.0).state_dict() for part in (images(3), images(2, 48))]
    name = next(name for name in mixed if name.endswith("running_mean"))
    torch.testing.assert_close(mixed[name], (alone[0][name] + alone[1][name]) / 2)


def test_without_images_the_copy_is_equal():
    network = built()
    adapted = with_statistics_of(network, [], 0.5).state_dict()
    assert all(torch.equal(adapted[name], value) for name, value in network.state_dict().items())
