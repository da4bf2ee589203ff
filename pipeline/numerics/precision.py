"""The arithmetic of a network's products: float32, TF32 or bfloat16, whatever the kernels (`determinism` is apart).

torch 2.9 and later sets TF32 by `fp32_precision` for each backend, older torch by `allow_tf32`. Reading the one after
the other was set is an error in some states, so both are known to this module alone and a process uses one of them.
`allow_tf32` has no word for torch's precision `medium`, which older torch gets back as `high`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from pipeline.numerics import Precision

_BY_BACKEND = hasattr(torch.backends.cuda.matmul, "fp32_precision")
_NAME, _TF32, _FLOAT32 = ("fp32_precision", "tf32", "ieee") if _BY_BACKEND else ("allow_tf32", True, False)
_cudnn: Any = torch.backends.cudnn
_GPU = (torch.backends.cuda.matmul, *((_cudnn.conv, _cudnn.rnn) if _BY_BACKEND else (_cudnn,)))
_mkldnn: Any = torch.backends.mkldnn
_PRODUCTS = (torch.backends.cuda.matmul, *((_mkldnn.matmul,) if _BY_BACKEND else ()))


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Inside the context, products of float32 tensors are made in bfloat16 where `precision` says so.

    On a GPU each product has its own copy of its weights, as in a recorded pass: gradients of several passes in one
    context are then added in float32 there.
    """
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=device.type == "cpu")


def products(precision: Precision) -> AbstractContextManager[None]:
    """Inside the context, a GPU takes float32 products in TF32 where `precision` says so; a CPU never does."""
    return _setting(_GPU, _TF32 if precision == "tf32" else _FLOAT32)


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Switch off autocast and every reduced-precision matrix product of float32 (TF32, bfloat16) inside.

    An argmax over products must not depend on the tensor cores' rounding. The settings come back on exit.
    """
    with _setting(_PRODUCTS, _FLOAT32), no_autocast(device.type):
        yield


@contextmanager
def _setting(backends: tuple[Any, ...], value: object) -> Iterator[None]:
    before = [getattr(backend, _NAME) for backend in backends]
    try:
        for backend in backends:
            setattr(backend, _NAME, value)
        yield
    finally:
        for backend, earlier in zip(backends, before, strict=True):
            setattr(backend, _NAME, earlier)


def no_autocast(device_type: str) -> AbstractContextManager[object]:
    """Inside the context, compute as the tensors' dtypes say; of no effect on a kind of device without autocast."""
    if not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    return torch.autocast(device_type=device_type, enabled=False)
