"""Views of images that a network learns from: other colors, sharpness and places, and squares left out."""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as tensors

from pipeline.data.augmentation import draw_affine
from pipeline.data.parameters import Affine, Color
from pipeline.networks.normalise import colors, from_colors
from pipeline.networks.parameters import InputProfile
from pipeline.numerics import IGNORE, Size
from pipeline.numerics.precision import no_autocast
from pipeline.numerics.randomness import Draws

MASKED = 0.7
"""Share of the squares that are masked. Source: Hoyer et al., MIC, CVPR 2023."""


@torch.no_grad()
def recolored(images: Tensor, profile: InputProfile, color: Color | None, draws: Sequence[Draws]) -> Tensor:
    """Change colors and sharpness of network input (B, 3, H, W), each image by its own draws; None: nothing."""
    if color is None:
        return images
    with no_autocast(images.device.type):
        pictures = colors(images, profile).clamp(0.0, 1.0)
        changed = [_change(picture, color, own) for picture, own in zip(pictures, draws, strict=True)]
        return from_colors(torch.stack(changed), profile)


def _change(picture: Tensor, color: Color, draws: Draws) -> Tensor:
    """Change one picture, float32 (3, H, W) of 0..1, as `data/augmentation.py` changes bytes."""
    if not draws.chance(color.probability):
        return picture
    from torchvision.transforms.v2 import functional  # slow to import, and most methods do without

    for adjust, reach in (
        (functional.adjust_brightness, color.brightness),
        (functional.adjust_contrast, color.contrast),
        (functional.adjust_saturation, color.saturation),
    ):
        if reach:
            picture = adjust(picture, draws.uniform(1.0 - reach, 1.0 + reach))
    if color.hue:
        picture = functional.adjust_hue(picture, draws.uniform(-color.hue, color.hue))
    if color.blur and draws.chance(color.blur):
        deviation = draws.uniform(*color.blur_radius)
        side = 2 * ceil(3.0 * deviation) + 1
        picture = functional.gaussian_blur(picture, [side, side], [deviation, deviation])
    return picture


def affine_grid(size: Size, affine: Affine, draws: Sequence[Draws], device: torch.device) -> Tensor:
    """Draw where each pixel of views of `size` comes from, as `grid_sample` reads it: float32 (B, H, W, 2)."""
    height, width = size
    rows = []
    for own in draws:
        a, b, c, d, e, f = draw_affine((width, height), own, affine)
        # From pixels to coordinates that run from -1 to 1 over the image.
        b, d = b * height / width, d * width / height
        rows.append([[a, b, a + b + 2 * c / width - 1], [d, e, d + e + 2 * f / height - 1]])
    matrices = torch.tensor(rows, dtype=torch.float32).to(device, non_blocking=True)
    return tensors.affine_grid(matrices, [len(draws), 1, height, width], align_corners=False)


@torch.no_grad()
def moved(images: Tensor, grid: Tensor, profile: InputProfile) -> Tensor:
    """Network input (B, 3, H, W) at the places of a grid, bilinear; black outside, as the loader's affine step."""
    with no_autocast(images.device.type):
        pictures = tensors.grid_sample(colors(images, profile), grid, align_corners=False)
        return from_colors(pictures, profile)


@torch.no_grad()
def moved_labels(labels: Tensor, weight: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Labels int64 (B, H, W) and their weights at the places of a grid, nearest; ignored outside.

    Labels of one pixel belong to classified images: they stay as they are.
    """
    if labels.shape[-2:] == (1, 1):
        return labels, weight
    maps = torch.stack([labels.float() + 1, weight.float()], dim=1)  # so that 0 is what lies outside
    placed, placed_weight = tensors.grid_sample(maps, grid, mode="nearest", align_corners=False).unbind(1)
    return torch.where(placed == 0, IGNORE, placed.long() - 1), placed_weight


def masked(images: Tensor, block: int, draws: Sequence[Draws]) -> Tensor:
    """Put the mean color in 70 % of the squares, of `block` pixels' side, of network input (B, 3, H, W).

    Source: MIC: a grid of round(H / block) x round(W / block) draws, enlarged to the image by nearest.
    """
    height, width = images.shape[-2:]
    rows, columns = max(1, round(height / block)), max(1, round(width / block))
    kept = [[own.uniform() > MASKED for _ in range(rows * columns)] for own in draws]
    grid = torch.tensor(kept).to(images.device, non_blocking=True)  # the host goes on at once
    grid = grid.reshape(len(kept), rows, columns)
    row = torch.arange(height, device=images.device) * rows // height
    column = torch.arange(width, device=images.device) * columns // width
    return images * grid[:, row[:, None], column[None, :]][:, None]


def masked_tokens(size: Size, stride: int, draws: Sequence[Draws], device: torch.device) -> Tensor:
    """Choose 70 % of the tokens of images of `size`: bool (B, h, w), h and w rounded up. Source: VFM-UDA."""
    rows, columns = (ceil(side / stride) for side in size)
    chosen = [[own.uniform() < MASKED for _ in range(rows * columns)] for own in draws]
    return torch.tensor(chosen).to(device, non_blocking=True).reshape(len(chosen), rows, columns)
