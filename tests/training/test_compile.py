"""`compile: true`: the same terms from a compiled network and losses; without it no compiler is imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import ToyNetwork, toy_batch, toy_learner, toy_parameters

from pipeline.numerics import compiling
from pipeline.training.step import StepRunner

TESTS = Path(__file__).resolve().parents[1]
COMPILERS = ("torch._inductor", "triton")


def first_step(compile_: bool) -> tuple[dict[str, float], list[torch.Tensor]]:
    parameters = toy_parameters("advent", compile=compile_, objective={"adversarial_weight": 0.5})
    learner = toy_learner(parameters, ToyNetwork("multi", batch_norm="batch_frozen_affine").train())
    runner = StepRunner(learner, torch.device("cpu"))
    batch = {name: toy_batch(name, 0, range(2), name == "source") for name in learner.method.domains}
    values = {name: value.item() for name, value in runner.run(0, batch).values.items()}
    return values, [tensor.grad for tensors in runner.trained.values() for tensor in tensors]


@pytest.mark.slow
def test_a_compiled_step_has_the_same_terms_and_gradients() -> None:
    wanted, wanted_gradients = first_step(False)
    found, gradients = first_step(True)
    assert "torch._inductor" in sys.modules
    assert found == pytest.approx(wanted, rel=1e-4)
    for one, other in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_network_and_losses_are_compiled_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(ToyNetwork, "compile", lambda self, **options: compiled.append("network"))

    def compile_(function: Any, **options: Any) -> Any:
        compiled.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    compiling.compiled.cache_clear()
    first_step(False)
    assert compiled == []
    first_step(True)
    compiling.compiled.cache_clear()
    assert {"network", "self_information", "domain_loss"} <= set(compiled)


def test_without_it_nothing_imports_a_compiler() -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / 'training')!r}]\n"
        "from test_compile import COMPILERS, first_step\n"
        "first_step(False)\n"
        "print([name for name in COMPILERS if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
