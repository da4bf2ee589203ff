"""Heads for encoders with several levels: DAFormer's context-aware fusion (Hoyer 2022), and a light one for ViTs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.heads import WEIGHT_STD
from pipeline.numerics.upsampling import upsample

WIDTH = 256
DROPOUT = 0.1
"""Share of channels dropped before the classifier. Source: DAFormer's published settings."""


class DaformerHead(nn.Module):
    """All levels to 256 channels, concatenated, through separable dilated convolutions: logits on the first's grid.

    `channels`: of the levels, the finest first. One branch per rate, a 1x1 convolution where the rate is 1; every
    convolution but the first ones and the classifier is followed by BatchNorm and ReLU.
    """

    def __init__(
        self, channels: Sequence[int], num_classes: int, rates: Sequence[int], align_corners: bool
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.embed = nn.ModuleList(nn.Conv2d(count, WIDTH, 1) for count in channels)
        wide = WIDTH * len(channels)
        self.branches = nn.ModuleList(_branch(wide, rate) for rate in rates)
        self.fuse = _normalised(nn.Conv2d(WIDTH * len(rates), WIDTH, 3, padding=1, bias=False))
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classifier = nn.Conv2d(WIDTH, num_classes, 1)
        _initialise(self, self.classifier)

    def lower(self, levels: Sequence[Tensor]) -> Tensor:
        """Embed all levels but the last on the grid of the first: (B, 256 (levels - 1), h, w)."""
        embedded = [layer(level) for layer, level in zip(self.embed, levels, strict=False)]
        return torch.cat([self._resized(maps, embedded[0]) for maps in embedded], dim=1)

    def forward(self, feature: Tensor, skip: Tensor) -> Tensor:
        """Compute logits (B, K, h, w) from the last level and `lower` of the others."""
        maps = torch.cat([skip, self._resized(self.embed[-1](feature), skip)], dim=1)
        fused = self.fuse(torch.cat([branch(maps) for branch in self.branches], dim=1))
        return self.classifier(self.dropout(fused))

    def _resized(self, maps: Tensor, like: Tensor) -> Tensor:
        size = (like.shape[-2], like.shape[-1])
        if maps.shape[-2:] == size:
            return maps
        return upsample(maps, size, self.align_corners).to(like.dtype)


class LightVitHead(nn.Module):
    """Two transposed convolutions that double the grid, a 3x3 and a 1x1 convolution, as in VFM-UDA (widths ours)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(count, WIDTH, 2, stride=2) for count in (in_channels, WIDTH)
        )
        self.merge = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.classifier = nn.Conv2d(WIDTH, num_classes, 1)
        _initialise(self, self.classifier)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, K, 4h, 4w)."""
        for layer in self.enlarge:
            feature = F.gelu(layer(feature))
        return self.classifier(F.gelu(self.merge(feature)))


def _branch(in_channels: int, rate: int) -> nn.Sequential:
    if rate == 1:
        return _normalised(nn.Conv2d(in_channels, WIDTH, 1, bias=False))
    depthwise = nn.Conv2d(
        in_channels, in_channels, 3, padding=rate, dilation=rate, groups=in_channels, bias=False
    )
    return nn.Sequential(*_normalised(depthwise), *_normalised(nn.Conv2d(in_channels, WIDTH, 1, bias=False)))


def _normalised(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))


def _initialise(head: nn.Module, classifier: nn.Conv2d) -> None:
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.normal_(classifier.weight, 0.0, WEIGHT_STD)
