"""Heads: the ASPP-sum of DeepLab-v2 (Chen 2017), and the same with one low-level skip."""

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.upsampling import upsample

WEIGHT_STD = 0.01
LEGACY_BRANCHES = 2


class AsppSum(nn.Module):
    """Sum of parallel 3x3 convolutions with different dilations: (B, C, h, w) -> (B, K, h, w).

    No normalisation, no non-linearity, no image pooling. With `aspp: legacy_two` only the first two branches
    are evaluated, as in AdaptSegNet's released code; the others stay in the state dict and are not trainable.
    """

    def __init__(self, in_channels: int, out_channels: int, parameters: NetworkParameters) -> None:
        super().__init__()
        branches = [
            nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate, bias=parameters.head_bias)
            for rate in parameters.dilations
        ]
        self.conv2d_list = nn.ModuleList(branches)
        self.evaluated = len(branches) if parameters.aspp == "all" else LEGACY_BRANCHES
        for branch in branches[self.evaluated :]:
            branch.requires_grad_(False)
        # Heads without bias (PLCA) keep the framework's initialisation, as do all biases.
        if parameters.head_bias:
            for branch in branches:
                nn.init.normal_(branch.weight, 0.0, WEIGHT_STD)

    @property
    def last(self) -> nn.Module:
        """The evaluated branch that is added last."""
        return self.conv2d_list[self.evaluated - 1]

    def forward(self, feature: Tensor) -> Tensor:
        """Sum the evaluated branches, in the order of the dilations."""
        total = self.conv2d_list[0](feature)
        for index in range(1, self.evaluated):
            total = total + self.conv2d_list[index](feature)
        return total


class SkipHead(nn.Module):
    """ASPP-sum merged with a low-level map: (B, C, h, w) and (B, L, 4h, 4w) -> (B, K, 4h, 4w).

    The ASPP-sum makes `width` channels, is up-sampled to the low-level grid and added to a 1x1 projection of
    the low-level map; a 3x3 and a 1x1 convolution follow. A design of ours in the manner of DeepLab-v3+.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        num_classes: int,
        width: int,
        parameters: NetworkParameters,
    ) -> None:
        super().__init__()
        self.aspp = AsppSum(in_channels, width, parameters)
        self.project = nn.Conv2d(skip_channels, width, 1, bias=False)
        self.merge = nn.Conv2d(width, width, 3, padding=1)
        self.classifier = nn.Conv2d(width, num_classes, 1, bias=parameters.head_bias)
        self.align_corners = parameters.align_corners
        for convolution in (self.project, self.merge):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, 0.0, WEIGHT_STD)

    def forward(self, feature: Tensor, skip: Tensor) -> Tensor:
        """Compute logits on the grid of `skip`."""
        coarse, fine = self.aspp(feature), self.project(skip)
        coarse = upsample(coarse, (skip.shape[-2], skip.shape[-1]), self.align_corners).to(fine.dtype)
        merged = F.relu(coarse + fine)
        return self.classifier(F.relu(self.merge(merged)))
