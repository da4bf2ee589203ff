"""The one factory of networks: parameters, class count and seed in, a network in training mode out."""

from collections.abc import Callable
from typing import cast

from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.batch_norm import install_mode
from pipeline.networks.deeplab_v2 import DeepLabV2
from pipeline.networks.digits import DTN, LeNet
from pipeline.networks.encoder import EncoderNetwork
from pipeline.networks.parameters import TIMM, NetworkParameters
from pipeline.networks.small import build_small_network
from pipeline.networks.timm_backbones import build_timm_network
from pipeline.networks.torchvision_backbones import build_torchvision_network
from pipeline.networks.weights import load_backbone
from pipeline.numerics.randomness import seeded_weights

_FACTORIES: dict[str, Callable[[NetworkParameters, int], SegmentationNetwork]] = {
    "small": build_small_network,
    "resnet101_caffe": DeepLabV2,
    "lenet": LeNet,
    "dtn": DTN,
}


def build_network(parameters: NetworkParameters, num_classes: int, seed: int) -> SegmentationNetwork:
    """Make a network on the CPU, initialised from `seed` and then from its weight file where it names one.

    The same arguments give the same tensors; no global random state is touched. Raises ConfigError where the
    weight file is missing or does not fit.
    """
    with seeded_weights(seed):
        network = construct(parameters, num_classes)
    if parameters.weights is not None:
        load_backbone(network, parameters.weights)
    return network


def construct(parameters: NetworkParameters, num_classes: int) -> SegmentationNetwork:
    """Make a network with random weights from torch's current generator, on torch's current device."""
    others = build_timm_network if parameters.backbone.startswith(TIMM) else build_torchvision_network
    network = _FACTORIES.get(parameters.backbone, others)(parameters, num_classes)
    network.batch_norm_mode = parameters.batch_norm
    install_mode(network, parameters.batch_norm)
    if parameters.freeze_below is not None:
        network.freeze_below(parameters.freeze_below)
    if parameters.freeze_blocks is not None:
        cast(EncoderNetwork, network).freeze_blocks(parameters.freeze_blocks)
    return network.train()
