"""Logits moved by what a network answers: the amount, the smallest share, every head, and networks without a bias."""

import pytest
import torch
from test_target_statistics import images

from pipeline.networks.build import build_network
from pipeline.networks.logit_adjustment import SMALLEST_SHARE, with_adjusted_logits
from pipeline.networks.parameters import NetworkParameters

HEADS = {
    "small": {"backbone": "small", "weights": None},
    "aspp": {"backbone": "resnet18"},
    "two-branches": {"backbone": "resnet18", "aspp": "legacy_two"},
    "skip": {"backbone": "mobilenet_v2", "output_stride": 16, "dilations": [1, 3, 6], "skip": True},
    "two-levels": {"backbone": "resnet18", "levels": "multi"},
    "daformer": {
        "backbone": "timm/pvt_v2_b0",
        "batch_norm": "train",
        "head": "daformer",
        "output_stride": 32,
        "dilations": [1, 6, 12, 18],
        "align_corners": False,
    },
    "vit": {
        "backbone": "timm/vit_tiny_patch16_224",
        "output_stride": 16,
        "head": "vit_light",
        "align_corners": False,
    },
}


def built(name):
    return build_network(NetworkParameters(**HEADS[name]), 5, seed=0).eval()


@pytest.mark.parametrize("name", HEADS)
def test_all_logits_of_a_class_move_by_the_log_of_its_mean_answer(name):
    network, shown = built(name), images(3)
    with torch.no_grad():
        network.class_bias()[2] = 3.0  # a class that it answers too often
        adapted = with_adjusted_logits(network, shown, 0.5)
        before = torch.stack([network.logits(image[None])[0] for image in shown])
        after = torch.stack([adapted.logits(image[None])[0] for image in shown])
    shares = before.softmax(1).mean((0, 2, 3))
    assert shares.argmax() == 2
    expected = (-0.5 * shares.log())[None, :, None, None].expand_as(before)
    torch.testing.assert_close(after - before, expected, atol=1e-4, rtol=1e-4)


def test_a_class_that_is_never_answered_moves_no_further_than_the_smallest_share():
    network = built("small")
    with torch.no_grad():
        network.class_bias()[1] = -100.0
        moved = with_adjusted_logits(network, images(2), 1.0).class_bias() - network.class_bias()
    assert moved[1].item() == pytest.approx(-torch.tensor(SMALLEST_SHARE).log().item(), rel=1e-4)


def test_the_network_itself_is_left_alone_and_without_images_nothing_moves():
    network = built("small")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with_adjusted_logits(network, images(2), 1.0)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(with_adjusted_logits(network, [], 1.0).state_dict(), before, rtol=0, atol=0)


def test_a_head_without_bias_stays_as_it_is():
    network = build_network(NetworkParameters(backbone="resnet18", head_bias=False), 5, seed=0)
    assert network.class_bias() is None
    torch.testing.assert_close(
        with_adjusted_logits(network, images(1), 1.0).state_dict(), network.state_dict()
    )
