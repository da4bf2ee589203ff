"""Arithmetic by one of torch's interfaces, put back afterwards; the older one as a torch without the newer has it."""

import importlib

import pytest
import torch

from pipeline.numerics import precision
from pipeline.numerics.precision import autocast, exact_products, products

CPU = torch.device("cpu")
newer = pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"),
    reason="torch before 2.9 has allow_tf32 instead, which the last test is about",
)


def settings():
    cudnn = torch.backends.cudnn
    return [backend.fp32_precision for backend in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)]


@newer
@pytest.mark.parametrize(("name", "value"), [("tf32", "tf32"), ("float32", "ieee"), ("bfloat16", "ieee")])
def test_tf32_is_for_tf32_alone_and_torchs_own_setting_comes_back(name, value):
    before = settings()
    with pytest.raises(RuntimeError, match="on purpose"), products(name):
        assert settings() == [value] * 3
        raise RuntimeError("on purpose")
    assert settings() == before


@newer
def test_exact_products_are_exact_inside_any_precision():
    with products("tf32"):
        with exact_products(CPU):
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert settings() == ["tf32"] * 3


@newer
def test_exact_products_overrule_the_users_own_setting():
    torch.set_float32_matmul_precision("medium")
    try:
        backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
        outside = [one.fp32_precision for one in backends]
        with pytest.raises(RuntimeError, match="on purpose"), exact_products(CPU):
            assert [one.fp32_precision for one in backends] == ["ieee", "ieee"] != outside
            raise RuntimeError("on purpose")
        assert [one.fp32_precision for one in backends] == outside
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name", ["tf32", "float32", "bfloat16"])
def test_only_bfloat16_casts(name):
    with autocast(name, CPU):
        made = torch.ones(2, 2) @ torch.ones(2, 2)
        with exact_products(CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert made.dtype == (torch.bfloat16 if name == "bfloat16" else torch.float32)


class Older:
    """A backend of torch before 2.9."""

    def __init__(self, allow_tf32: bool) -> None:
        self.allow_tf32 = allow_tf32


def test_an_older_torch_is_set_by_its_own_switches(monkeypatch):
    matmul, cudnn = Older(False), Older(True)
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    try:
        importlib.reload(precision)
        with precision.products("tf32"):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == (True, True)
            with precision.exact_products(CPU):
                assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, True)
        with precision.products("float32"):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, False)
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, True)
    finally:
        monkeypatch.undo()
        importlib.reload(precision)


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(("device", "kept"), [("cpu", True), ("cuda", False)])
def test_on_a_gpu_every_product_has_its_own_copy_of_its_weights(device, kept):
    with autocast("bfloat16", torch.device(device)):
        assert torch.is_autocast_cache_enabled() == kept
