"""Normalisation on the device from uint8, by profile."""

import pytest
import torch

from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import PROFILES

PIXEL = torch.tensor([10, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("torch", [(10 / 255 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("caffe", [255 - 104.00698793, 128 - 116.66876762, 10 - 122.67891434]),
        ("unit", [(10 / 255 - 0.5) / 0.5, (128 / 255 - 0.5) / 0.5, 1.0]),
    ],
)
def test_values(profile, expected):
    result = normalise(PIXEL, PROFILES[profile])
    assert result.dtype == torch.float32
    assert result.flatten().tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_torch_profile_equals_the_one_in_byte_units():
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(PIXEL, PROFILES["torch"]), (PIXEL.float() - mean) / std)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 2, 2), torch.zeros(3, 2, 2, dtype=torch.uint8)])
def test_images_that_are_not_raw_batches_are_refused(images):
    with pytest.raises(TypeError, match="uint8"):
        normalise(images, PROFILES["torch"])
