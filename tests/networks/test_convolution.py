"""Gradients of the quick convolution against torch's, for every shape of the backbones we ship and their like."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.networks.convolution import Geometry, convolve

DEPTHWISE = [
    # channels, kernel, stride, dilation, height, width: MobileNetV2 at 320x240 and output stride 16
    (32, 3, 1, 1, 120, 160),
    (96, 3, 2, 1, 120, 160),
    (144, 3, 1, 1, 60, 80),
    (144, 3, 2, 1, 60, 80),
    (192, 3, 1, 1, 30, 40),
    (192, 3, 2, 1, 30, 40),
    (384, 3, 1, 1, 15, 20),
    (960, 3, 1, 2, 15, 20),
    # MobileNetV3-large
    (72, 5, 2, 1, 60, 80),
    (120, 5, 1, 1, 30, 40),
    (240, 3, 2, 1, 30, 40),
    (672, 5, 1, 1, 15, 20),
    (960, 5, 1, 2, 15, 20),
    # as in EfficientNets, and output stride 8
    (1152, 5, 1, 2, 15, 20),
    (240, 5, 1, 4, 9, 7),
    (40, 5, 2, 1, 31, 33),
]
POINTWISE = [
    (32, 16, 120, 160),
    (16, 96, 120, 160),
    (160, 960, 15, 20),
    (320, 1280, 15, 20),
    (64, 11, 60, 80),
]
DENSE = [
    (3, 32, 3, 2, 1, 240, 320),
    (128, 64, 3, 1, 6, 15, 20),
    (24, 36, 1, 2, 1, 30, 40),
    (8, 12, 1, 1, 1, 6, 5),
]
GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def gradients(function, images, weight, bias, geometry):
    leaves = [tensor.clone().requires_grad_() for tensor in (images, weight, bias)]
    result = function(*leaves, geometry)
    # Not symmetric in space, so that a turned kernel or a shifted product is seen.
    seed = torch.linspace(-1, 2, result[0].numel()).reshape(result[0].shape).to(result.dtype)
    result.backward((seed * seed).expand_as(result))
    return [result.detach(), *(leaf.grad for leaf in leaves)]


def plain(images, weight, bias, geometry):
    return F.conv2d(images, weight, bias, *geometry)


def assert_same(images, weight, bias, geometry, tolerance):
    ours = gradients(convolve, images, weight, bias, geometry)
    wanted = gradients(plain, *(value.double() for value in (images, weight, bias)), geometry)
    for mine, exact in zip(ours, wanted, strict=True):
        assert mine.dtype == images.dtype
        assert (mine.double() - exact).norm() <= tolerance * exact.norm()
    assert ours[0].is_contiguous(memory_format=torch.channels_last)


def depthwise(channels, kernel, stride, dilation, height, width):
    images, weight = random(2, channels, height, width), random(channels, 1, kernel, kernel)
    padding = dilation * (kernel // 2)
    return (
        images,
        weight,
        random(channels),
        Geometry((stride, stride), (padding, padding), (dilation, dilation), channels),
    )


@pytest.mark.parametrize("shape", DEPTHWISE)
def test_depthwise(shape):
    images, weight, bias, geometry = depthwise(*shape)
    assert_same(images, weight, bias, geometry, 1e-3)
    low = [tensor.bfloat16() for tensor in (images, weight, bias)]
    assert_same(*low, geometry, 1e-2)


@pytest.mark.parametrize("shape", POINTWISE)
def test_pointwise(shape):
    before, after, height, width = shape
    tensors = random(2, before, height, width), random(after, before, 1, 1), random(after)
    geometry = Geometry((1, 1), (0, 0), (1, 1), 1)
    assert_same(*tensors, geometry, 1e-3)
    assert_same(*(tensor.bfloat16() for tensor in tensors), geometry, 1e-2)


@pytest.mark.parametrize("shape", DENSE)
def test_all_others(shape):
    before, after, kernel, stride, dilation, height, width = shape
    padding = dilation * (kernel // 2)
    geometry = Geometry((stride, stride), (padding, padding), (dilation, dilation), 1)
    images, weight = random(2, before, height, width), random(after, before, kernel, kernel)
    assert_same(images, weight, random(after), geometry, 1e-3)


@pytest.mark.parametrize(
    ("kernel", "padding", "dilation", "stride"),
    [((3, 5), (2, 1), (1, 2), (1, 1)), ((5, 3), (1, 2), (2, 1), (1, 1)), ((3, 5), (1, 2), (1, 1), (1, 2))],
)
def test_axes_are_not_confused(kernel, padding, dilation, stride):
    geometry = Geometry(stride, padding, dilation, 6)
    assert_same(random(3, 6, 17, 23), random(6, 1, *kernel), random(6), geometry, 1e-3)


def test_gradients_that_nobody_asks_for_are_not_computed():
    images, weight, bias, geometry = depthwise(8, 3, 1, 2, 6, 5)
    for wanted in range(3):
        leaves = [
            tensor.clone().requires_grad_(index == wanted)
            for index, tensor in enumerate((images, weight, bias))
        ]
        convolve(*leaves, geometry).sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [index == wanted for index in range(3)]


def test_without_bias():
    images, weight, _, geometry = depthwise(8, 5, 2, 1, 9, 7)
    torch.testing.assert_close(
        convolve(images, weight, None, geometry), plain(images, weight, None, geometry)
    )
