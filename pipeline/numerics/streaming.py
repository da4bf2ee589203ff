"""Row-wise softmax over an affinity matrix that is never held: blocks of products, made and dropped.

For queries x_i and keys k_j the row logits are `z_ij = scale_i <x_i, k_j - centre>`. With
`scale_i = 1 / (std_i + 1e-10)`, std_i being the unbiased deviation of row i, z is the contrast-normalised
affinity of PLCA: the row mean is <x_i, centre>, and std_i^2 = x_i^T Sigma x_i with the covariance Sigma of
the keys. Memory is O((N + M) C + C^2 + block^2) instead of O(N M). `docs/methods/plca.md` derives it.

Queries and keys are views of the raw rows, made block by block: see `Cosine` and `Divergence`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

CONTRAST_EPSILON = 1e-10
"""Added to a row's deviation before division (PLCA, released code)."""
NORM_FLOOR = 1e-12
"""Norm below which a feature vector has no direction under cosine (PLCA, released code)."""
KL_EPSILON = 1e-10
"""Added to a probability inside the logarithm of the divergence (PLCA, released code)."""


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Switch off autocast and every reduced-precision matrix product of float32 (TF32, bfloat16) inside.

    An argmax over products must not depend on the tensor cores' rounding. The settings come back on exit.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with _no_autocast(device.type):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _no_autocast(device_type: str) -> AbstractContextManager[object]:
    if not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    return torch.autocast(device_type=device_type, enabled=False)


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 where it already is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def slices(length: int, block: int) -> Iterator[slice]:
    """Cut range(length) into consecutive slices of at most `block`; raises ValueError for a block below 1."""
    if block < 1:
        raise ValueError(f"block_rows must be at least 1, found {block}")
    for start in range(0, length, block):
        yield slice(start, min(start + block, length))


Rows = Tensor | slice
"""Which rows of an operand: int64 positions (r,), or a slice."""


class Operand(Protocol):
    """The raw rows `values` (N, C) of an image, in their parts as query and as key of an affinity.

    `pull_query` and `pull_key` bring the gradient of such a view (r, C) back to the raw rows.
    """

    values: Tensor

    def query(self, rows: Rows) -> Tensor: ...  # noqa: D102 - see the class
    def key(self, rows: Rows) -> Tensor: ...  # noqa: D102
    def pull_query(self, rows: Rows, grad: Tensor) -> Tensor: ...  # noqa: D102
    def pull_key(self, rows: Rows, grad: Tensor) -> Tensor: ...  # noqa: D102


class Cosine:
    """Features under cosine: rows of length 1 as query and as key.

    A row of norm 1e-12 or less (a dead feature) has no direction and becomes 0 without gradient: dividing it
    by the floor would put a factor of 1e12 into its gradient.
    """

    def __init__(self, values: Tensor) -> None:
        norm = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        self.values = values
        self.factor = (norm > NORM_FLOOR) / norm.clamp(min=NORM_FLOOR)

    def query(self, rows: Rows) -> Tensor:
        """Unit rows (r, C)."""
        return self.values[rows] * self.factor[rows]

    key = query

    def pull_query(self, rows: Rows, grad: Tensor) -> Tensor:
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

    def query(self, rows: Rows) -> Tensor:
        """Probabilities (r, K)."""
        return self.values[rows]

    def key(self, rows: Rows) -> Tensor:
        """Log-probabilities (r, K)."""
        return (self.values[rows] + KL_EPSILON).log_()

    def pull_query(self, rows: Rows, grad: Tensor) -> Tensor:
        """Return the gradient as it is."""
        return grad

    def pull_key(self, rows: Rows, grad: Tensor) -> Tensor:
        """Divide by the probability."""
        return grad / (self.values[rows] + KL_EPSILON)


@dataclass(frozen=True)
class RowLogits:
    """Rows of z: `rows` int64 (R,) of the queries, all M keys; `centre` (C,) of the keys; `scale` (R,)."""

    queries: Operand
    keys: Operand
    rows: Tensor
    centre: Tensor
    scale: Tensor
    block_rows: int

    def row_slices(self) -> Iterator[slice]:
        """Slices of `rows`."""
        return slices(len(self.rows), self.block_rows)

    def key_slices(self) -> Iterator[slice]:
        """Slices of the keys."""
        return slices(len(self.keys.values), self.block_rows)

    def query_block(self, rows: slice) -> Tensor:
        """The scaled queries of a slice of `rows`, (r, C)."""
        return self.queries.query(self.rows[rows]) * self.scale[rows, None]

    def key_block(self, keys: slice) -> Tensor:
        """The centred keys of a slice, (m, C)."""
        return self.keys.key(keys) - self.centre


def row_logits(queries: Operand, keys: Operand, rows: Tensor, contrast: bool, block_rows: int) -> RowLogits:
    """Prepare the rows `rows` (R,) int64 of z; `contrast` divides each by its deviation, else scale is 1.

    Without gradient. Centring the keys changes no softmax and no gradient: it only shifts whole rows.
    """
    total = keys.values.new_zeros(keys.values.shape[1])
    for block in slices(len(keys.values), block_rows):
        total += keys.key(block).sum(dim=0)
    logits = RowLogits(
        queries, keys, rows, total / len(keys.values), keys.values.new_ones(len(rows)), block_rows
    )
    if contrast and len(rows):
        _contrast_scale(logits, logits.scale)
    return logits


def _contrast_scale(logits: RowLogits, scale: Tensor) -> None:
    """Fill `scale` (R,) with 1 / (std + 1e-10) of each row; 0 for rows whose deviation is rounding noise.

    A constant row says nothing: scale 0 makes its softmax exactly uniform and keeps the factor of up to 1e10
    out of the gradient.
    """
    keys = logits.keys
    covariance = keys.values.new_zeros(keys.values.shape[1], keys.values.shape[1])
    extent = keys.values.new_zeros(keys.values.shape[1])
    for block in logits.key_slices():
        centred = logits.key_block(block)
        covariance.addmm_(centred.T, centred)
        extent = torch.maximum(extent, keys.key(block).abs().amax(dim=0))
    covariance /= len(keys.values) - 1
    noise = 16 * torch.finfo(scale.dtype).eps
    for block in logits.row_slices():
        query = logits.queries.query(logits.rows[block])
        deviation = ((query @ covariance) * query).sum(dim=1).clamp(min=0).sqrt()
        constant = deviation <= noise * (query.abs() @ extent)
        scale[block] = torch.where(constant, 0.0, 1.0 / (deviation + CONTRAST_EPSILON))


class Peaks(NamedTuple):
    """Of each row (R,): first key of the largest logit, -log of its softmax, and log-sum-exp of the row."""

    key: Tensor
    cost: Tensor
    normaliser: Tensor


def softmax_peaks(logits: RowLogits) -> Peaks:
    """Stream over the keys with a running maximum, its key and the rescaled sum of exponentials."""
    pieces = [_peaks_of(logits, logits.query_block(rows)) for rows in logits.row_slices()]
    if not pieces:
        return Peaks(torch.empty_like(logits.rows), torch.empty_like(logits.scale), logits.scale)
    return Peaks(*(torch.cat(column) for column in zip(*pieces, strict=True)))


def _peaks_of(logits: RowLogits, query: Tensor) -> Peaks:
    largest = query.new_full((len(query),), -torch.inf)
    total = torch.zeros_like(largest)
    key = torch.zeros_like(largest, dtype=torch.int64)
    for keys in logits.key_slices():
        z = query @ logits.key_block(keys).T
        block_largest, block_key = z.max(dim=1)
        # Strict: on a tie between blocks the lower key stays.
        key = torch.where(block_largest > largest, block_key + keys.start, key)
        raised = torch.maximum(largest, block_largest)
        total = total * (largest - raised).exp() + z.sub_(raised[:, None]).exp_().sum(dim=1)
        largest = raised
    cost = total.log()  # the softmax at the peak is 1 / total
    return Peaks(key, cost, largest + cost)


def probabilities(query: Tensor, key: Tensor, normaliser: Tensor) -> Tensor:
    """Make a block of the softmax again: (r, C) scaled queries, (m, C) centred keys, (r,) -> (r, m)."""
    z = query @ key.T
    return z.sub_(normaliser[:, None]).exp_()
