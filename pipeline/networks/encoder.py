"""A network made of any encoder and one of the heads."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.context_heads import DaformerHead, LightVitHead
from pipeline.networks.heads import AsppSum, SkipHead
from pipeline.networks.parameters import NetworkParameters


class Features(NamedTuple):
    """Maps of an encoder: `low` at stride 4, `previous` for the aux head, `last` for the main head.

    `levels`: all maps from stride 4 on, the finest first, where the encoder has them.
    """

    low: Tensor
    previous: Tensor
    last: Tensor
    levels: tuple[Tensor, ...] = ()


class Channels(NamedTuple):
    """Channel counts of `Features`."""

    low: int
    previous: int
    last: int
    levels: tuple[int, ...] = ()


class Encoder(nn.Module):
    """Images (B, 3, H, W) to `Features`."""

    channels: Channels
    token_stride: int | None = None
    """Side in pixels of the patches that `forward(images, token_mask)` can mask; None: it has none."""

    def parts(self) -> Iterator[tuple[str, int]]:
        """Names of its sub-modules in order, and the stride of each before any dilation."""
        raise NotImplementedError

    def embeddings(self) -> Iterator[nn.Parameter]:
        """Tensors that belong to no part: a ViT's class token, registers and positions."""
        yield from ()

    def forward(self, images: Tensor) -> Features:
        """Compute the maps."""
        raise NotImplementedError


class EncoderNetwork(SegmentationNetwork):
    """`backbone` under a main head (`_main_head`) and, if multi-level, an aux head.

    The heads' tensors are named `main.*` and `aux.*`, the encoder's `backbone.*`.
    """

    backbone_prefix = "backbone."

    def __init__(
        self, parameters: NetworkParameters, num_classes: int, backbone: Encoder, skip_width: int
    ) -> None:
        super().__init__()
        self.describe(parameters, num_classes)
        self.feature_channels = backbone.channels.last
        self.backbone, self.token_stride = backbone, backbone.token_stride
        self.main = _main_head(parameters, num_classes, backbone.channels, skip_width)
        self.head_roles = {"main": "main"}
        if parameters.levels == "multi":
            self.aux = AsppSum(backbone.channels.previous, num_classes, parameters)
            self.head_roles = {"aux": "aux", "main": "main"}

    def backbone_parts(self) -> Iterator[tuple[str, int]]:
        """The encoder's parts under their names in the network."""
        for name, stride in self.backbone.parts():
            yield self.backbone_prefix + name, stride

    def freeze_blocks(self, count: int) -> None:
        """Keep a ViT's embeddings and first `count` blocks as they are; the mask token is trained."""
        self.freeze_parts([name for name, _ in self.backbone_parts()][: count + 1])
        for tensor in self.backbone.embeddings():
            tensor.requires_grad_(False)

    def backbone_groups(self) -> Iterator[tuple[float, list[nn.Parameter]]]:
        """One group per part: the last has factor 1, each before it `layer_decay` times that of the next."""
        if self.parameters_spec.layer_decay == 1.0:
            yield from super().backbone_groups()
            return
        parts = [f"{name}." for name, _ in self.backbone_parts()]
        groups: dict[int, list[nn.Parameter]] = {}
        for name, tensor in self.named_parameters():
            if tensor.requires_grad and not self.belongs_to_head(name):
                place = next((place for place, part in enumerate(parts) if name.startswith(part)), 0)
                groups.setdefault(place, []).append(tensor)
        for place, tensors in sorted(groups.items()):
            yield self.parameters_spec.layer_decay ** (len(parts) - 1 - place), tensors

    def forward(self, images: Tensor, token_mask: Tensor | None = None) -> Output:
        """Compute the logits: of stride 4 with a skip or DAFormer's head, else of `output_stride`.

        `token_mask` (B, h, w), bool: see `vit_backbones.py`; only where `token_stride` is not None.
        """
        features: Features = (
            self.backbone(images) if token_mask is None else self.backbone(images, token_mask)
        )
        skip = self._skip(features)
        aux = self.aux(features.previous) if "aux" in self.head_roles else None
        return Output(self.classify(features.last, skip), aux, features.last, skip)

    def last_map(self, images: Tensor) -> Tensor:
        """Compute the encoder's last map, without any head."""
        features: Features = self.backbone(images)
        return features.last

    def _skip(self, features: Features) -> Tensor | None:
        if isinstance(self.main, DaformerHead):
            return self.main.lower(features.levels[:-1])
        return features.low if self.parameters_spec.skip else None

    def classify(self, feature: Tensor, skip: Tensor | None = None) -> Tensor:
        """Run the main head alone; `skip` (B, L, H/4, W/4) is needed where the network has one."""
        return self.main(feature) if skip is None else self.main(feature, skip)


def _main_head(
    parameters: NetworkParameters, num_classes: int, channels: Channels, skip_width: int
) -> nn.Module:
    """ASPP-sum, alone or with a skip, DAFormer's head, or the light one."""
    if parameters.head == "daformer":
        return DaformerHead(channels.levels, num_classes, parameters.dilations, parameters.align_corners)
    if parameters.head == "vit_light":
        return LightVitHead(channels.last, num_classes)
    if parameters.skip:
        return SkipHead(channels.last, channels.low, num_classes, skip_width, parameters)
    return AsppSum(channels.last, num_classes, parameters)
