"""A 2-D convolution whose gradients are quick on a CPU: the same sums as torch's, by other kernels.

torch computes some gradients there with general kernels that are up to 20 times slower than the forward pass.
What is computed how follows from the shape alone, never from a timing, so that the bits do not depend on one:

| convolution | gradient of the input | gradient of the weight |
|---|---|---|
| pointwise: 1x1, stride 1 | matrix product, channels last | matrix product |
| depthwise, stride 1 | a forward convolution with the kernel turned by 180 degrees | 3x3 undilated: torch's; else below |
| depthwise, strided | torch's in float32, for bfloat16 too | as above |
| any other | torch's | torch's |

The weight's gradient of a depthwise convolution is itself one: of an image's input with that image's output
gradient as the kernel, stride and dilation changing places. `benchmarks/cpu_step.py` has the figures.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
CHANNELS_LAST = torch.channels_last


class Geometry(NamedTuple):
    """Stride, zero padding and dilation by axis, and the number of groups."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def convolve(images: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Convolve (B, C, h, w) with (D, C / groups, k, l) to (B, D, h', w'), all of one floating dtype.

    The result and the images' gradient are in channels-last order. Gradients agree with torch's to rounding:
    1e-3 relative in float32, and better in bfloat16, where sums are taken in float32.
    """
    result: Tensor = _Convolution.apply(images, weight, bias, geometry)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        images = images.contiguous(memory_format=CHANNELS_LAST)
        ctx.save_for_backward(images, weight)
        ctx.geometry = geometry
        return F.conv2d(images, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=CHANNELS_LAST)
        needs = ctx.needs_input_grad
        of_images, of_weight = _gradients_of(images, weight, ctx.geometry)(
            gradient, images, weight, ctx.geometry, (needs[0], needs[1])
        )
        of_bias = gradient.sum((0, 2, 3)) if needs[2] else None
        return of_images, of_weight, of_bias, None


def _gradients_of(images: Tensor, weight: Tensor, geometry: Geometry) -> "_GradientsOf":
    """Choose how to compute the gradients, by the table above."""
    if images.shape[1] == weight.shape[0] == geometry.groups > 1:
        return _depthwise
    pointwise = weight.shape[2:] == (1, 1) and geometry == POINTWISE
    return _pointwise if pointwise else _torchs


POINTWISE = Geometry((1, 1), (0, 0), (1, 1), 1)

_Needs = tuple[bool, bool]
"""Whether the gradients of the images and of the weight are asked for."""
_Gradients = tuple[Tensor | None, Tensor | None]
_GradientsOf = Callable[[Tensor, Tensor, Tensor, Geometry, _Needs], _Gradients]
"""Gradient of the result, images, weight, geometry, needs -> gradients of the images and of the weight."""


def _torchs(
    gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry, needs: _Needs
) -> _Gradients:
    stride, padding, dilation, groups = geometry
    of_images, of_weight, _ = torch.ops.aten.convolution_backward(
        *(gradient, images, weight, None, stride, padding, dilation, False, (0, 0), groups, (*needs, False))
    )
    return of_images, of_weight


def _pointwise(
    gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry, needs: _Needs
) -> _Gradients:
    rows = _rows(gradient)
    of_images = of_weight = None
    if needs[0]:
        batch, _, height, width = images.shape
        of_images = (rows @ weight.flatten(1)).view(batch, height, width, -1).permute(0, 3, 1, 2)
    if needs[1]:
        # BLAS is quicker with the longer side of the product second.
        longer = weight.shape[0] > weight.shape[1]
        product = (_rows(images).T @ rows).T if longer else rows.T @ _rows(images)
        of_weight = product[:, :, None, None]
    return of_images, of_weight


def _rows(maps: Tensor) -> Tensor:
    """Channels-last maps (B, C, h, w) as a matrix (B h w, C), without a copy."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _depthwise(
    gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry, needs: _Needs
) -> _Gradients:
    of_images = of_weight = None
    if needs[0]:
        compute = _input_gradient if geometry.stride == (1, 1) else _strided_input_gradient
        of_images = compute(gradient, images, weight, geometry)
    if needs[1] and weight.shape[2:] == (3, 3) and geometry.dilation == (1, 1):
        of_weight = _torchs(gradient, images, weight, geometry, (False, True))[1]
    elif needs[1]:
        of_weight = _weight_gradient(gradient, images, weight, geometry)
    return of_images, of_weight


def _input_gradient(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    reach = [step * (side - 1) for step, side in zip(geometry.dilation, weight.shape[2:], strict=True)]
    padding = [whole - own for whole, own in zip(reach, geometry.padding, strict=True)]
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, padding, geometry.dilation, geometry.groups)


def _strided_input_gradient(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    wide = torch.promote_types(weight.dtype, torch.float32)
    shape_only = torch.empty_like(images, dtype=wide)
    found, _ = _torchs(gradient.to(wide), shape_only, weight.to(wide), geometry, (True, False))
    assert found is not None
    return found.to(weight.dtype)


def _weight_gradient(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    stride, padding, dilation, groups = geometry
    height, width = weight.shape[2:]
    total = torch.zeros(weight.shape, dtype=torch.promote_types(weight.dtype, torch.float32))
    for image, kernel in zip(images.split(1), gradient.unbind(), strict=True):
        products = F.conv2d(image, kernel[:, None], None, dilation, padding, stride, groups)
        # With a stride the last rows of an image may meet no output; they make further products.
        total += products[0, :, None, :height, :width]
    return total.to(weight.dtype)
