"""Softmax over the rows of an affinity matrix that is never held: blocks of rows, made, reduced and dropped.

For queries x_i and keys k_j the logits are `z_ij = scale_i <x_i, k_j - centre>`. With `scale_i = 1 / (std_i +
1e-10)`, std_i being the unbiased deviation of row i, z is the contrast-normalised affinity of PLCA: the row mean
is <x_i, centre>, and std_i^2 = x_i^T Sigma x_i with the covariance Sigma of the keys. Memory is O((N + M) C + C^2)
and one block instead of O(N M). `docs/methods/plca.md` derives it.

Sums over rows are rounded block by block, so a block's size must not depend on what else a device does: it is a
fixed number of values for each kind of device, and bits follow from shapes and kind of device alone.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

BLOCK = 1 << 21
"""Numbers of a block on a CPU: 8 MiB of float32."""
LARGE_BLOCK = 1 << 25
"""Numbers of a block elsewhere: 128 MiB. At 92 x 92 positions three blocks, so that few kernels do the work."""
CONTRAST_EPSILON = 1e-10
"""Added to a row's deviation before division (PLCA, released code)."""
NORM_FLOOR = 1e-12
"""Norm below which a feature vector has no direction under cosine (PLCA, released code)."""
KL_EPSILON = 1e-10
"""Added to a probability inside the logarithm of the divergence (PLCA, released code)."""


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 where it already is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def slices(length: int, block: int) -> Iterator[slice]:
    """Cut range(length) into consecutive slices of at most `block`."""
    for start in range(0, length, block):
        yield slice(start, min(start + block, length))


def row_blocks(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Cut `rows` rows of `columns` numbers each into blocks that suit the device, of one row at least."""
    numbers = BLOCK if device.type == "cpu" else LARGE_BLOCK
    return slices(rows, max(1, numbers // columns))


ALL = slice(None)
"""Every row of an operand."""


class Operand(Protocol):
    """The raw rows `values` (N, C) of an image, in their parts as query and as key of an affinity.

    A key is a tensor of its own. `pull_query` and `pull_key` bring the gradient of such rows (r, C) back to the
    raw ones.
    """

    values: Tensor

    def query(self, rows: slice) -> Tensor: ...  # noqa: D102 - see the class
    def key(self, rows: slice) -> Tensor: ...  # noqa: D102
    def pull_query(self, rows: slice, grad: Tensor) -> Tensor: ...  # noqa: D102
    def pull_key(self, rows: slice, grad: Tensor) -> Tensor: ...  # noqa: D102


class Cosine:
    """Features under cosine: rows of length 1 as query and as key.

    A row of norm 1e-12 or less (a dead feature) has no direction and becomes 0 without gradient: dividing it
    by the floor would put a factor of 1e12 into its gradient.
    """

    def __init__(self, values: Tensor) -> None:
        norm = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        self.values = values
        self.factor = (norm > NORM_FLOOR) / norm.clamp(min=NORM_FLOOR)

    def query(self, rows: slice) -> Tensor:
        """Unit rows (r, C)."""
        return self.values[rows] * self.factor[rows]

    key = query

    def pull_query(self, rows: slice, grad: Tensor) -> Tensor:
        """Remove the part along the row and divide by its norm."""
        unit = self.query(rows)
        along = torch.linalg.vecdot(unit, grad, dim=1)[:, None]
        return unit.mul_(along).neg_().add_(grad).mul_(self.factor[rows])

    pull_key = pull_query


class Divergence:
    """Probabilities p under -KL(p || q): p itself as query, log(q + 1e-10) as key.

    <p, log q> is -KL(p || q) up to a constant of the row, which no softmax over the row sees.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def query(self, rows: slice) -> Tensor:
        """Probabilities (r, K)."""
        return self.values[rows]

    def key(self, rows: slice) -> Tensor:
        """Log-probabilities (r, K)."""
        return (self.values[rows] + KL_EPSILON).log_()

    def pull_query(self, rows: slice, grad: Tensor) -> Tensor:
        """Return the gradient as it is."""
        return grad

    def pull_key(self, rows: slice, grad: Tensor) -> Tensor:
        """Divide by the probability."""
        return grad / (self.values[rows] + KL_EPSILON)


def feature_blocks(values: Tensor) -> Iterator[slice]:
    """Cut the rows of (N, C) into blocks that suit their device."""
    count, channels = values.shape
    return row_blocks(count, channels, values.device)


class Keys:
    """All rows of an operand as keys about a centre (C,), made in blocks when they are needed."""

    def __init__(self, operand: Operand, centre: Tensor) -> None:
        self.operand, self.centre = operand, centre

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the rows with their keys (m, C)."""
        for rows in feature_blocks(self.operand.values):
            yield rows, self.operand.key(rows).sub_(self.centre)

    def products(self, query: Tensor) -> Tensor:
        """Inner products of queries (r, C) with every key: (r, M)."""
        found = query.new_empty(len(query), len(self.operand.values))
        for rows, key in self.blocks():
            torch.mm(query, key.T, out=found[:, rows])
        return found

    def weighted(self, weight: Tensor) -> Tensor:
        """Sums of the keys under weights (r, M): (r, C)."""
        found = weight.new_zeros(len(weight), len(self.centre))
        for rows, key in self.blocks():
            found.addmm_(weight[:, rows], key)
        return found


def key_mean(keys: Operand) -> Tensor:
    """The mean of the rows as keys (C,): where the affinity's keys are centred."""
    count, channels = keys.values.shape
    total = keys.values.new_zeros(channels)
    for block in feature_blocks(keys.values):
        total += keys.key(block).sum(dim=0)
    return total / count


def contrast_scale(queries: Operand, keys: Keys) -> Tensor:
    """1 / (std + 1e-10) of each query's row (N,), without gradient; 0 where the deviation is rounding noise.

    A constant row says nothing: scale 0 makes its softmax exactly uniform and keeps the factor of up to 1e10
    out of the gradient.
    """
    count, channels = keys.operand.values.shape
    covariance = keys.centre.new_zeros(channels, channels)
    extent = keys.centre.abs()
    for _, key in keys.blocks():
        extent = torch.maximum(extent, (key + keys.centre).abs().amax(dim=0))
        covariance.addmm_(key.T, key)
    covariance /= count - 1
    noise = 16 * torch.finfo(covariance.dtype).eps
    scales = []
    for block in feature_blocks(queries.values):
        query = queries.query(block)
        deviation = ((query @ covariance) * query).sum(dim=1).clamp(min=0).sqrt()
        constant = deviation <= noise * (query.abs() @ extent)
        scales.append(torch.where(constant, 0.0, 1.0 / (deviation + CONTRAST_EPSILON)))
    return torch.cat(scales)
