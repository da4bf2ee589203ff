"""The demo's network: size, grids, and that it learns."""

import torch
import torch.nn.functional as F

from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters


def test_size_and_grids():
    network = build_network(NetworkParameters(backbone="small", dilations=(1, 3, 6), skip=True), 11, 0)
    assert 200_000 < sum(p.numel() for p in network.parameters()) < 600_000
    output = network(torch.zeros(1, 3, 96, 192))
    assert output.main.shape == (1, 11, 24, 48)
    assert output.feature.shape == (1, 96, 12, 24)
    plain = build_network(NetworkParameters(backbone="small"), 11, 0)
    assert plain(torch.zeros(1, 3, 96, 192)).main.shape == (1, 11, 12, 24)


def test_one_image_alone_equals_the_same_image_in_a_batch_while_training():
    network = build_network(NetworkParameters(backbone="small", skip=True), 3, 0).train()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images).main[:1], network(images[:1]).main, rtol=1e-4, atol=1e-5)


def test_it_learns_left_from_right_by_color():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (4, 1, 8), generator=generator).repeat_interleave(4, 2).expand(4, 32, 32)
    images = labels[:, None].float().repeat(1, 3, 1, 1) + 0.1 * torch.randn(4, 3, 32, 32, generator=generator)
    network = build_network(NetworkParameters(backbone="small", dilations=(1, 2), skip=True), 2, 0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(15):
        loss = F.cross_entropy(network.upsample(network(images).main, (32, 32)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    accuracy = (network.upsample(network(images).main, (32, 32)).argmax(1) == labels).float().mean()
    assert accuracy > 0.85
