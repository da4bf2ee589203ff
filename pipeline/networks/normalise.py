"""From uint8 RGB to network input, on the images' device."""

from functools import lru_cache

import torch
from torch import Tensor

from pipeline.networks.parameters import InputProfile


def normalise(images: Tensor, profile: InputProfile) -> Tensor:
    """Turn uint8 RGB (B, 3, H, W) into float32 `(x / scale - mean) / std`, channels in the profile's order.

    Raises TypeError for any other dtype: images that were normalised before would pass unnoticed.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise TypeError(f"images must be uint8 (B, 3, H, W), found {images.dtype} {tuple(images.shape)}")
    mean, std = _constants(profile, images.device)
    ordered = images.flip(1) if profile.order == "bgr" else images
    return (ordered.float() / profile.scale - mean) / std


def colors(images: Tensor, profile: InputProfile) -> Tensor:
    """Undo `normalise`: float32 RGB (B, 3, H, W), 0 black and 1 white."""
    mean, std = _constants(profile, images.device)
    ordered = (images * std + mean) * (profile.scale / 255.0)
    return ordered.flip(1) if profile.order == "bgr" else ordered


def from_colors(images: Tensor, profile: InputProfile) -> Tensor:
    """Turn float32 RGB (B, 3, H, W) of 0..1 into network input; the inverse of `colors`."""
    mean, std = _constants(profile, images.device)
    ordered = images.flip(1) if profile.order == "bgr" else images
    return (ordered * (255.0 / profile.scale) - mean) / std


@lru_cache(maxsize=32)
def _constants(profile: InputProfile, device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept on the device: a copy from the host in every step would be waited for.
    with torch.inference_mode(False):
        mean = torch.tensor(profile.mean, device=device, dtype=torch.float32).view(1, 3, 1, 1)
        std = torch.tensor(profile.std, device=device, dtype=torch.float32).view(1, 3, 1, 1)
    return mean, std
