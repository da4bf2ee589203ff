"""A small network that learns from scratch on a CPU in minutes; GroupNorm, so no BatchNorm mode matters."""

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.encoder import Channels, Encoder, EncoderNetwork, Features
from pipeline.networks.parameters import NetworkParameters

WIDTHS = (24, 48, 96)
GROUPS = 8
SKIP_WIDTH = 32


def _normalised(in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution and GroupNorm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.GroupNorm(GROUPS, out_channels),
    )


def _strided(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(_normalised(in_channels, out_channels, stride=2), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    """ReLU of the input plus its normalised convolution."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.unit = _normalised(channels, channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.unit(x))


class SmallEncoder(Encoder):
    """Three strided convolutions and dilated residual ones; `low` at stride 4, the other maps at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        stem, middle, wide = WIDTHS
        self.stem = _strided(3, stem)
        self.stage1 = nn.Sequential(_strided(stem, middle), _Residual(middle, 1))
        self.stage2 = nn.Sequential(_strided(middle, wide), _Residual(wide, 1))
        self.stage3 = nn.Sequential(_Residual(wide, 2), _Residual(wide, 4))
        self.channels = Channels(middle, wide, wide)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Features:
        """Compute the maps of the three stages."""
        low = self.stage1(self.stem(images))
        previous = self.stage2(low)
        return Features(low, previous, self.stage3(previous))


def build_small_network(parameters: NetworkParameters, num_classes: int) -> EncoderNetwork:
    """Make the small network with random weights."""
    return EncoderNetwork(parameters, num_classes, SmallEncoder(), SKIP_WIDTH)
