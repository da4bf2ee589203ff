"""torchvision's ResNet-18/50, MobileNetV2 and MobileNetV3-large as encoders of output stride 8 or 16.

Tensor names below `backbone.` are torchvision's own, so its weight files load by name. A stage beyond the
output stride keeps its grid and is dilated instead, as torchvision's `replace_stride_with_dilation` does.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import mul
from typing import Any, cast

from torch import Tensor, nn

from pipeline.networks.deeplab_v2 import RESNET_PARTS
from pipeline.networks.encoder import Channels, Encoder, EncoderNetwork, Features
from pipeline.networks.parameters import NetworkParameters

SKIP_WIDTH = 64
_FEATURE_INDICES = {"mobilenet_v2": (3, 13), "mobilenet_v3_large": (3, 12)}
"""Index of the last block at stride 4 and of the last one at stride 16."""


def _model(name: str) -> Any:
    """One of torchvision's classifiers with random weights."""
    import torchvision  # slow to import, and other networks do without

    return torchvision.models.get_model(name, weights=None)


class ResNetEncoder(Encoder):
    """torchvision's ResNet without pooling and classifier; aux maps come from its third stage."""

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        model = _model(name)
        self.conv1, self.bn1, self.relu, self.maxpool = model.conv1, model.bn1, model.relu, model.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            model.layer1,
            model.layer2,
            model.layer3,
            model.layer4,
        )
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        dilate([block for stage in stages for block in stage], stride=4, output_stride=output_stride)
        expansion = model.fc.in_features // 512
        self.channels = Channels(64 * expansion, 256 * expansion, 512 * expansion)

    def parts(self) -> Iterator[tuple[str, int]]:
        """The stem and the four stages."""
        yield from RESNET_PARTS

    def forward(self, images: Tensor) -> Features:
        """Compute the maps of stages 1, 3 and 4."""
        low = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        previous = self.layer3(self.layer2(low))
        return Features(low, previous, self.layer4(previous))


class MobileNetEncoder(Encoder):
    """torchvision's MobileNet up to its last 1x1 convolution; aux maps come from its last stage but one."""

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        self.features = _model(name).features
        self.strides = tuple(accumulate(map(_reduction, self.features), mul))
        dilate(self.features, stride=1, output_stride=output_stride)
        self.low, self.previous = _FEATURE_INDICES[name]
        low, previous, last = (_out_channels(self.features[i]) for i in (self.low, self.previous, -1))
        self.channels = Channels(low, previous, last)

    def parts(self) -> Iterator[tuple[str, int]]:
        """The blocks, under their numbers."""
        for index, stride in enumerate(self.strides):
            yield f"features.{index}", stride

    def forward(self, images: Tensor) -> Features:
        """Run the blocks in order, keeping the maps at stride 4 and before the last stage."""
        kept, x = {}, images
        for index, block in enumerate(self.features):
            x = block(x)
            kept[index] = x if index in (self.low, self.previous) else None
        return Features(cast(Tensor, kept[self.low]), cast(Tensor, kept[self.previous]), x)


def dilate(blocks: Iterable[nn.Module], stride: int, output_stride: int) -> None:
    """Turn strides beyond `output_stride` into dilations, in place.

    `stride` is the one before the first block. A block that loses its stride keeps the dilation before it;
    the blocks after it double theirs.
    """
    dilation = 1
    for block in blocks:
        convolutions = _convolutions(block)
        reduction = _reduction(block)
        lost = stride * reduction > output_stride
        for convolution in convolutions:
            _set_dilation(convolution, dilation)
            if lost:
                convolution.stride = (1, 1)
        if lost:
            dilation *= reduction
        else:
            stride *= reduction


def _set_dilation(convolution: nn.Conv2d, dilation: int) -> None:
    kernel = convolution.kernel_size[0]
    if kernel > 1:
        convolution.dilation = (dilation, dilation)
        convolution.padding = (dilation * (kernel // 2), dilation * (kernel // 2))


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


def _reduction(block: nn.Module) -> int:
    return max(convolution.stride[0] for convolution in _convolutions(block))


def _out_channels(block: nn.Module) -> int:
    return _convolutions(block)[-1].out_channels


def build_torchvision_network(parameters: NetworkParameters, num_classes: int) -> EncoderNetwork:
    """Make a network on a torchvision backbone with random weights."""
    encoder = ResNetEncoder if parameters.backbone.startswith("resnet") else MobileNetEncoder
    backbone = encoder(parameters.backbone, parameters.output_stride)
    return EncoderNetwork(parameters, num_classes, backbone, SKIP_WIDTH)
