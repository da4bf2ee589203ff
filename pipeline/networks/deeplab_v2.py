"""DeepLab-v2 on the Caffe-style ResNet-101 (Chen 2017; Tsai 2018), output stride 8, single- or multi-level.

Tensor names follow the public checkpoints of AdaptSegNet, ADVENT, CRST and their descendants. Differences to
torchvision's ResNet-101: a strided bottleneck has its stride on the first 1x1 convolution, and the stem's
pooling rounds up (`ceil_mode`).
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.heads import AsppSum
from pipeline.networks.parameters import NetworkParameters

BLOCKS = (3, 4, 23, 3)
WIDTHS = (64, 128, 256, 512)
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)
EXPANSION = 4
CONVOLUTION_STD = 0.01
RESNET_PARTS = (("conv1", 2), ("bn1", 2), ("layer1", 4), ("layer2", 8), ("layer3", 16), ("layer4", 32))
"""Parts of a ResNet and their strides, before dilation."""


class Bottleneck(nn.Module):
    """1x1 (with the stride), 3x3 (with the dilation), 1x1 times 4, each with BatchNorm, plus the shortcut."""

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 4 width, h', w')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


def _stage(index: int) -> nn.Sequential:
    width, dilation = WIDTHS[index], DILATIONS[index]
    channels = 64 if index == 0 else WIDTHS[index - 1] * EXPANSION
    blocks = [Bottleneck(channels, width, STRIDES[index], dilation, project=True)]
    blocks += [
        Bottleneck(width * EXPANSION, width, 1, dilation, project=False) for _ in range(1, BLOCKS[index])
    ]
    return nn.Sequential(*blocks)


class DeepLabV2(SegmentationNetwork):
    """`layer5` is the only head of a single-level network; a multi-level one has aux `layer5`, main `layer6`.

    Convolutions start as N(0, 0.01^2), BatchNorm as identity; ImageNet weights follow (`weights.py`).
    """

    def __init__(self, parameters: NetworkParameters, num_classes: int) -> None:
        super().__init__()
        self.describe(parameters, num_classes)
        self.feature_channels = WIDTHS[3] * EXPANSION
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = (_stage(index) for index in range(4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, CONVOLUTION_STD)
        if parameters.levels == "multi":
            self.layer5 = AsppSum(WIDTHS[2] * EXPANSION, num_classes, parameters)
            self.layer6 = AsppSum(self.feature_channels, num_classes, parameters)
            self.head_roles = {"aux": "layer5", "main": "layer6"}
        else:
            self.layer5 = AsppSum(self.feature_channels, num_classes, parameters)
            self.head_roles = {"main": "layer5"}

    def backbone_parts(self) -> Iterator[tuple[str, int]]:
        """The stem and the four stages, the last two as if they were strided."""
        yield from RESNET_PARTS

    def forward(self, images: Tensor) -> Output:
        """(B, 3, H, W) -> logits and feature (B, 2048, h, w), h = floor((h2 - 1) / 2) + 1, about H / 8."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        previous = self.layer3(self.layer2(self.layer1(x)))
        feature = self.layer4(previous)
        aux = self.layer5(previous) if "aux" in self.head_roles else None
        return Output(self.classify(feature), aux, feature)

    def classify(self, feature: Tensor, skip: Tensor | None = None) -> Tensor:
        """Run the main head alone on (B, 2048, h, w)."""
        return self.get_submodule(self.head_roles["main"])(feature)
