"""LeNet and DTN of CyCADA (Hoffman 2018) as segmentation networks with one pixel: logits (B, K, 1, 1).

Fully connected layers are written as convolutions over the whole map: the same products, and the same start.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.artifacts.errors import DataError
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.parameters import NetworkParameters


def _start(layer: nn.Conv2d, fully_connected: bool) -> None:
    """Xavier-normal weights and zero biases; a layer over the whole map has the fans of a matrix."""
    nn.init.xavier_normal_(layer.weight.flatten(1) if fully_connected else layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class DigitNetwork(SegmentationNetwork):
    """Convolutions to one feature vector per image, then ReLU, dropout and a linear layer (`main`)."""

    single_pixel = True
    side: int
    """Height and width that an image must have."""

    def __init__(
        self, parameters: NetworkParameters, num_classes: int, backbone: nn.Module, feature_channels: int
    ) -> None:
        super().__init__()
        self.describe(parameters, num_classes)
        self.output_stride = self.side
        self.feature_channels = feature_channels
        self.backbone = backbone
        self.main = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(feature_channels, num_classes, 1))
        self.head_roles = {"main": "main"}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                _start(module, fully_connected=module.out_channels == feature_channels)

    def forward(self, images: Tensor) -> Output:
        """(B, 3, side, side) -> logits (B, K, 1, 1) and the feature before its ReLU (B, C, 1, 1)."""
        if images.shape[-2:] != torch.Size((self.side, self.side)):
            raise DataError(
                f"{self.parameters_spec.backbone} takes images of {self.side}x{self.side} pixels, found "
                f"{images.shape[-1]}x{images.shape[-2]}; set the task's size to [{self.side}, {self.side}]"
            )
        feature = self.backbone(self.channels_of(images))
        return Output(self.classify(feature), None, feature)

    def channels_of(self, images: Tensor) -> Tensor:
        """Select the channels that the first layer reads."""
        return images

    def classify(self, feature: Tensor, skip: Tensor | None = None) -> Tensor:
        """Run ReLU, dropout and the linear layer."""
        return self.main(feature)


class _Pooled(nn.Module):
    """Max-pool 2, then ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.max_pool2d(x, 2))


class LeNet(DigitNetwork):
    """Two 5x5 convolutions (20, 50 channels), 800 -> 500 (feature) -> K; grey images of 28x28 pixels."""

    side = 28

    def __init__(self, parameters: NetworkParameters, num_classes: int) -> None:
        layers = (
            nn.Conv2d(1, 20, 5),
            _Pooled(),
            nn.Conv2d(20, 50, 5),
            nn.Dropout2d(0.5),
            _Pooled(),
            nn.Conv2d(50, 500, 4),
        )
        super().__init__(parameters, num_classes, nn.Sequential(*layers), feature_channels=500)

    def channels_of(self, images: Tensor) -> Tensor:
        """Mean over the channels, which is the grey value where they are equal."""
        return images.mean(1, keepdim=True)


def _strided(in_channels: int, out_channels: int, dropout: float) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 5, stride=2, padding=2),
        nn.BatchNorm2d(out_channels),
        nn.Dropout2d(dropout),
        nn.ReLU(),
    ]


class DTN(DigitNetwork):
    """Three strided 5x5 convolutions (64, 128, 256), 4096 -> 512 (feature) -> K; color, 32x32 pixels."""

    side = 32

    def __init__(self, parameters: NetworkParameters, num_classes: int) -> None:
        layers = [*_strided(3, 64, 0.1), *_strided(64, 128, 0.3), *_strided(128, 256, 0.5)]
        layers += [nn.Conv2d(256, 512, 4), nn.BatchNorm2d(512)]
        super().__init__(parameters, num_classes, nn.Sequential(*layers), feature_channels=512)
