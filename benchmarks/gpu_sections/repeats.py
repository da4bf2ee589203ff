"""Sections `exact` and `graphs`: does the same training give the same bits, and which operations cannot?"""

import hashlib
import statistics
import warnings
from collections.abc import Callable, Mapping
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_sections.harness import Record, Scale
from gpu_sections.trainings import (
    METHODS,
    make_steps,
    network_of,
    set_up,
    train,
    train_parameters,
)
from pipeline.numerics import Precision

STEPS = 5
GRAPH_STEPS = 16
REPEATS = 5


def exact(record: Record, scale: Scale) -> None:
    """Train twice from one start and hash; repeat single operations; list what torch warns of."""
    for precision in get_args(Precision):
        for network in (scale.deep, "mobilenet"):
            record.attempt(
                f"{network} advent {precision}",
                lambda network=network, precision=precision: twice(network, "advent", precision, scale),
            )
    record.attempt(f"{scale.deep_plca} plca", lambda: twice(scale.deep_plca, "plca", "float32", scale))
    for name, operation in operations(scale).items():
        for dtype in (torch.float32, torch.bfloat16):
            record.attempt(
                f"{name} {str(dtype).removeprefix('torch.')}",
                lambda operation=operation, dtype=dtype: repeated(operation, dtype, scale),
            )
    for method in METHODS:
        record.attempt(f"warnings {method}", lambda method=method: warned_of(method, scale))


def graphs(record: Record, scale: Scale) -> None:
    """Every method trained kernel by kernel and by graphs: the same weights, and how long a step takes."""
    for network in ("mobilenet", scale.deep):
        for method in METHODS:
            record.attempt(f"{network} {method}", lambda n=network, m=method: both_ways(n, m, scale))  # type: ignore[misc]


def both_ways(network: str, method: str, scale: Scale) -> dict[str, object]:
    """Digests of two trainings in bfloat16 at a small user's size, and their median steps."""
    parameters = train_parameters(method, "bfloat16", steps=GRAPH_STEPS)
    sizes = {"source": scale.camera, "target": scale.camera}
    found: dict[str, object] = {}
    digests = []
    for label, played in (("kernels", False), ("graphs", True)):
        done = train(network_of(network), parameters, sizes, scale, "exact", GRAPH_STEPS // 2, played)
        found[f"{label}_ms"] = statistics.median(done.step_ms)
        digests.append(digest_of(done.modules))
    return {"equal": digests[0] == digests[1], **found}


def digest_of(modules: Mapping[str, nn.Module]) -> str:
    """SHA-256 of all weights and buffers, shortened."""
    total = hashlib.sha256()
    for name, module in sorted(modules.items()):
        for key, tensor in module.state_dict().items():
            total.update(f"{name}/{key}".encode())
            total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


def twice(network: str, method: str, precision: Precision, scale: Scale) -> dict[str, object]:
    """Two trainings from the same start in determinism `exact`."""
    parameters = train_parameters(method, precision, steps=STEPS)
    sizes = {"source": scale.crop, "target": scale.crop}
    runs = [train(network_of(network), parameters, sizes, scale, "exact").modules for _ in range(2)]
    first, second = digest_of(runs[0]), digest_of(runs[1])
    return {
        "equal": first == second,
        "first": first,
        "second": second,
        "differs_first": first_difference(*runs),
    }


def first_difference(one: Mapping[str, nn.Module], other: Mapping[str, nn.Module]) -> str:
    """Name the first tensor that differs, in the order of the forward pass; empty without one."""
    for name, module in one.items():
        twin = other[name].state_dict()
        for key, tensor in module.state_dict().items():
            if not torch.equal(tensor, twin[key]):
                return f"{name}/{key}"
    return ""


def operations(scale: Scale) -> dict[str, Callable[[Tensor], Tensor]]:
    """Operations whose backward pass on a GPU may add in any order."""
    width, height = scale.target
    return {
        "max-pool": lambda x: functional.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
        "up-sampling": lambda x: functional.interpolate(
            x, (height, width), mode="bilinear", align_corners=True
        ),
    }


def repeated(operation: Callable[[Tensor], Tensor], dtype: torch.dtype, scale: Scale) -> dict[str, object]:
    """Gradient of one operation, `REPEATS` times over the same input."""
    set_up("exact", scale)
    width, height = scale.target
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(1, 64, height // 4, width // 4, generator=generator).to(scale.device, dtype)
    found = []
    for _ in range(REPEATS):
        values = start.clone().to(memory_format=torch.channels_last).requires_grad_()
        result = operation(values)
        result.backward(torch.ones_like(result) * 0.1 + result.detach())
        assert values.grad is not None
        found.append(values.grad)
    return {"equal": all(torch.equal(found[0], one) for one in found[1:])}


def warned_of(method: str, scale: Scale) -> dict[str, object]:
    """What torch says about one step when it warns of operations that give other bits each time."""
    set_up("exact", scale)
    torch.use_deterministic_algorithms(True, warn_only=True)
    network = scale.deep_plca if method == "plca" else scale.deep
    sizes = {"source": scale.crop, "target": scale.crop}
    steps = make_steps(network_of(network), train_parameters(method, "float32", steps=1), sizes, scale.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steps.step()
    texts = {str(one.message).splitlines()[0][:160] for one in caught}
    told = sorted(text for text in texts if "determin" in text)
    return {"warnings": len(told), "texts": " | ".join(told)}
