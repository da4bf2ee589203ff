"""Two resolutions at once: context at half the size, details at full size, fused by attention (HRDA).

Source: Hoyer et al., HRDA, ECCV 2022, and its released code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.base import Detail, Output
from pipeline.networks.context_heads import DaformerHead
from pipeline.networks.encoder import Encoder, EncoderNetwork, Features
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.timm_models import whole_cells
from pipeline.numerics.upsampling import upsample

GRAIN = 64
"""Images are enlarged to multiples of this, so that context, windows and their logits are whole cells."""
OFFSET = 8
"""A detail begins at multiples of this: at a cell of the context's logits."""
FINE = 4
"""Pixels per cell of the fused logits."""


class TwoResolutions(EncoderNetwork):
    """One encoder and one head for both resolutions, and a second head that says where details count.

    In training details are a random window of half the image's sides, one for the batch. Otherwise, and in a teacher
    (`everywhere`), they are overlapping windows of that size, whose logits are averaged.
    """

    everywhere = False
    """Details of the whole image in training too."""
    same_kernels = False  # the window is drawn anew
    one_size_when_traced = "its windows follow from the image's size"

    def __init__(
        self, parameters: NetworkParameters, num_classes: int, backbone: Encoder, skip_width: int
    ) -> None:
        super().__init__(parameters, num_classes, backbone, skip_width)
        self.attention = DaformerHead(
            backbone.channels.levels, num_classes, parameters.dilations, parameters.align_corners
        )
        self.head_roles = {"main": "main", "attention": "attention"}

    def forward(self, images: Tensor, token_mask: Tensor | None = None) -> Output:
        """Compute the fused logits of stride 4; in training the detail's own too. It has no tokens to mask."""
        if token_mask is not None:
            raise ValueError("token_mask: a network of two resolutions has no tokens")
        images = whole_cells(images, GRAIN)
        height, width = images.shape[-2:]
        features: Features = self.backbone(_halved(images))
        lower = self.attention.lower(features.levels[:-1])
        share = torch.sigmoid(self.attention(features.last, lower).float())
        context = self._answer(features).float()
        size = (height // FINE, width // FINE)
        if self.training and not self.everywhere:
            detail = self._random_detail(images)
            fine = _on_canvas(detail, context, size)
            share = share * _inside(detail, share)
        else:
            detail, fine = None, self._details(images, context, size)
        fused = upsample((1.0 - share) * context, size, False) + upsample(share, size, False) * fine
        return Output(fused, None, features.last, None, detail)

    def last_map(self, images: Tensor) -> Tensor:
        """Compute the context's last map alone."""
        features: Features = self.backbone(_halved(whole_cells(images, GRAIN)))
        return features.last

    def classify(self, feature: Tensor, skip: Tensor | None = None) -> Tensor:
        """Refuse: logits are made of two maps."""
        raise NotImplementedError(
            "a network of two resolutions has no head on one map; use another test mode"
        )

    def _answer(self, features: Features) -> Tensor:
        head = self.main
        assert isinstance(head, DaformerHead)
        return head(features.last, head.lower(features.levels[:-1]))

    def _random_detail(self, images: Tensor) -> Detail:
        """Answer on one window of half the sides, drawn from torch's generator on the host."""
        sides = [side // 2 for side in images.shape[-2:]]
        starts = [
            OFFSET * int(torch.randint(0, (whole - side) // OFFSET + 1, (), device="cpu"))
            for whole, side in zip(images.shape[-2:], sides, strict=True)
        ]
        rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        return Detail(self._answer(self.backbone(images[..., rows, columns])).float(), rows, columns)

    def _details(self, images: Tensor, like: Tensor, size: tuple[int, int]) -> Tensor:
        """Answer on windows of half the sides, a quarter apart: nine of a square; averaged where they overlap."""
        height, width = images.shape[-2:]
        total, count = like.new_zeros((*like.shape[:2], *size)), like.new_zeros(size)
        for top in range(0, height // 2 + 1, height // 4):
            for left in range(0, width // 2 + 1, width // 4):
                rows, columns = slice(top, top + height // 2), slice(left, left + width // 2)
                logits = self._answer(self.backbone(images[..., rows, columns])).float()
                total[..., _cells(rows, FINE), _cells(columns, FINE)] += logits
                count[_cells(rows, FINE), _cells(columns, FINE)] += 1
        return total / count


def _cells(pixels: slice, stride: int) -> slice:
    return slice(pixels.start // stride, pixels.stop // stride)


def _on_canvas(detail: Detail, like: Tensor, size: tuple[int, int]) -> Tensor:
    """The detail's logits in their place, 0 elsewhere."""
    left, top = detail.columns.start // FINE, detail.rows.start // FINE
    height, width = detail.logits.shape[-2:]
    return F.pad(detail.logits, (left, size[1] - left - width, top, size[0] - top - height))


def _inside(detail: Detail, like: Tensor) -> Tensor:
    """1 in the cells of the context's grid that the detail covers, 0 elsewhere."""
    mask = like.new_zeros(like.shape[-2:])
    mask[_cells(detail.rows, OFFSET), _cells(detail.columns, OFFSET)] = 1.0
    return mask


def _halved(images: Tensor) -> Tensor:
    return _resized(images, [side // 2 for side in images.shape[-2:]])


def _resized(images: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False)
