"""Bilinear up-sampling as two small matrix products, whole or a few rows at a time.

`up = R X C^T`: a row of the matrix R (H, h) holds the two weights with which an output row is mixed from the
grid's rows, C (W, w) likewise for columns. The values are those of `F.interpolate(mode="bilinear")`; unlike its
gradient, which adds atomically on a GPU, a product is the same in every run on every device, and its backward
pass is two products again. Weights are made in float64, products run in float32 whatever the autocast.

Most readers need each pixel once. `Enlarged` stretches the columns and then makes rows when asked, so that a
strip of logits is made, used and dropped while it lies in the processor's cache.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.numerics.precision import exact_products
from pipeline.numerics.streaming import slices, widen

Size = tuple[int, int]
"""Height and width."""

CACHED = 1 << 18
"""Numbers of a strip on a CPU: 1 MiB of float32, what a core's own cache holds."""
LAUNCHED = 1 << 26
"""Numbers of a strip elsewhere: 256 MiB of float32, so that few kernels have much to do."""


def upsample(maps: Tensor, size: Size, align_corners: bool) -> Tensor:
    """Resize maps (B, K, h, w) to `size` (H, W) bilinearly: (B, K, H, W), differentiable.

    Float32, or float64 for float64 maps. `align_corners`: whether the outer pixels' centres lie on each other,
    or the pictures' borders. Smaller sizes too, from two pixels each way, as `F.interpolate` does without
    antialiasing. The maps' own size gives the maps.
    """
    wide = widen(maps)
    if tuple(maps.shape[-2:]) == tuple(size):
        return wide
    if torch.compiler.is_exporting():
        # A product's matrix holds one size; the operator, whose values these are, takes any.
        return F.interpolate(wide, size, mode="bilinear", align_corners=align_corners)
    return _Upsample.apply(wide, size, align_corners)


class _Upsample(torch.autograd.Function):
    """Forward R X C^T, backward R^T G C."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: Size, align_corners: bool) -> Tensor:
        ctx.matrices = _matrices(maps, size, align_corners)
        rows, columns = ctx.matrices
        with exact_products(maps.device):
            return rows @ (maps @ columns.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.matrices
        with exact_products(grad.device):
            return (rows.T @ grad) @ columns, None, None


class Enlarged:
    """Maps (B, K, h, w) at another `size` (H, W), bilinearly; rows are made when asked for, without gradient.

    Values, types and `align_corners` as for `upsample`.
    """

    def __init__(self, maps: Tensor, size: Size, align_corners: bool) -> None:
        wide = widen(maps)
        self.size, self.align_corners, self.grid = size, align_corners, maps.shape[-2]
        rows, columns = _matrices(wide, size, align_corners)
        self._rows = rows if self.grid != size[0] else None
        self._columns = columns if maps.shape[-1] != size[1] else None
        with exact_products(maps.device):
            self._stretched = wide if self._columns is None else wide @ self._columns.T

    def strips(self) -> Iterator[slice]:
        """Cut the rows into slices that are well made at once; they follow from shapes and kind of device."""
        batch, classes, _, width = self._stretched.shape
        return row_strips(self.size[0], batch * classes * width, self._stretched.device)

    def rows(self, wanted: slice) -> Tensor:
        """Make rows `wanted`: (B, K, r, W), a tensor of its own."""
        if self._rows is None:
            return self._stretched[..., wanted, :].clone()
        band = self._band(wanted)
        with exact_products(self._stretched.device):
            return self._rows[wanted, band] @ self._stretched[..., band, :]

    def pull(self, grads: Iterable[tuple[slice, Tensor]]) -> Tensor:
        """Bring the gradients of slices of rows (B, K, r, W) back to the maps: their sum, (B, K, h, w)."""
        total = torch.zeros_like(self._stretched)
        with exact_products(total.device):
            for wanted, grad in grads:
                if self._rows is None:
                    total[..., wanted, :] += grad
                else:
                    band = self._band(wanted)
                    total[..., band, :] += self._rows[wanted, band].T @ grad
            return total if self._columns is None else total @ self._columns

    def _band(self, wanted: slice) -> slice:
        """The grid's rows that `wanted` rows are mixed from."""
        first, last = (
            place(row, self.grid, self.size[0], self.align_corners) for row in (wanted.start, wanted.stop - 1)
        )
        return slice(math.floor(first), min(math.floor(last) + 2, self.grid))


def row_strips(height: int, row: int, device: torch.device) -> Iterator[slice]:
    """Cut `height` rows of `row` numbers each into slices whose work suits the device."""
    numbers = CACHED if device.type == "cpu" else LAUNCHED
    return slices(height, max(1, numbers // max(1, row)))


def place(index: int, cells: int, length: int, align_corners: bool) -> float:
    """Where output pixel `index` of `length` lies on a line of `cells` grid cells, in [0, cells - 1]."""
    if align_corners:
        return index * (cells - 1) / max(1, length - 1)
    return min(max((index + 0.5) * cells / length - 0.5, 0.0), cells - 1.0)


@contextmanager
def matrices_read() -> Iterator[list[Tensor]]:
    """Collect the matrices that are read meanwhile, for who reads their memory again without a call of ours."""
    _READERS.append([])
    try:
        yield _READERS[-1]
    finally:
        _READERS.pop()


def _matrices(maps: Tensor, size: Size, align_corners: bool) -> tuple[Tensor, Tensor]:
    """R (H, h) and C (W, w) for these maps, kept from call to call."""
    # A fake tensor of a tracer must neither enter the cache nor meet what is in it.
    matrix = _kept_matrix if type(maps) is Tensor else _matrix
    rows, columns = (
        matrix(cells, length, align_corners, maps.dtype, maps.device)
        for cells, length in zip(maps.shape[-2:], size, strict=True)
    )
    for read in _READERS:
        read += [rows, columns]
    return rows, columns


def _matrix(cells: int, length: int, align_corners: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weights (length, cells): a cell counts 1 minus its distance from the pixel's place, at least 0."""
    places = [place(index, cells, length, align_corners) for index in range(length)]
    line = torch.tensor(places, dtype=torch.float64)
    near = 1.0 - (line[:, None] - torch.arange(cells, dtype=torch.float64)).abs()
    return near.clamp(min=0.0).to(dtype).to(device)


_kept_matrix = lru_cache(maxsize=64)(_matrix)
_READERS: list[list[Tensor]] = []
