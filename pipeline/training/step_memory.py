"""The memory of one training step, made without memory: tensors on torch's meta device have sizes and no numbers."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from pipeline.data.batch import Batch
from pipeline.methods.registry import build_method
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics import WidthHeight
from pipeline.training.learner import Learner
from pipeline.training.optimisers import trained_tensors
from pipeline.training.parameters import TrainParameters
from pipeline.training.step import StepRunner
from pipeline.training.step_flops import CountedFlops

META = torch.device("meta")
FLOAT32, BFLOAT16 = 4, 2
"""Bytes of a number."""
STATES = {"sgd": 1, "adamw": 2}
"""Numbers that an optimiser keeps for each that it trains."""


@dataclass(frozen=True)
class StepMemory:
    """What a step needs, in bytes: numbers that are trained, all weights, the optimisers' state, and the most that a
    step holds besides: activations, gradients, intermediate results. What kernels need for themselves is not known.
    `flops`: the floating-point operations of its products.
    """

    trained: int
    weights: int
    optimiser: int
    step: int
    flops: int

    @property
    def peak(self) -> int:
        """All together."""
        return self.weights + self.optimiser + self.step


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside and still held; `peak` is the most at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._held: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator, and count what it made."""
        made = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, made)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._held:
            return
        self.now += size
        self.peak = max(self.peak, self.now)
        self._held[key] = weakref.ref(storage, lambda _: self._forget(key, size))

    def _forget(self, key: int, size: int) -> None:
        self.now -= size
        del self._held[key]


@contextmanager
def fused_attention() -> Iterator[None]:
    """Attention in blocks inside, as devices compute it: the meta device alone would keep every pair of tokens.

    No mode of torch reaches the passes that `checkpointing` repeats, so the function itself is exchanged.
    """
    plain = F.scaled_dot_product_attention
    setattr(F, plain.__name__, _attention_in_blocks)
    try:
        yield
    finally:
        setattr(F, plain.__name__, plain)


def _attention_in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    made: tuple[Tensor, ...] = kernel(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)
    return made[0]


def step_memory(
    network: NetworkParameters,
    num_classes: int,
    parameters: TrainParameters,
    sizes: Mapping[str, WidthHeight],
    labelled: frozenset[str],
) -> StepMemory:
    """Estimate what one step needs on one device. `sizes`: width and height of each domain's images.

    Raises NotImplementedError or RuntimeError where an operator needs numbers.
    """
    runner = _runner(network, num_classes, parameters)
    modules = runner.modules.values()
    batch = {name: _batch(parameters.batch, size, name in labelled) for name, size in sizes.items()}
    with LiveBytes() as live, CountedFlops() as counted, fused_attention():
        runner.run(0, batch)
    trained = {name: _numbers(trained_tensors(module).values()) for name, module in runner.modules.items()}
    own = trained.pop("network")
    all_trained = own + sum(trained.values())
    # Under autocast weights have a copy in bfloat16, and gradients are float32, which `live` saw as bfloat16.
    rest = 2 * BFLOAT16 * all_trained if parameters.precision == "bfloat16" else 0
    return StepMemory(
        trained=all_trained,
        weights=FLOAT32 * sum(_numbers([*module.parameters(), *module.buffers()]) for module in modules),
        optimiser=FLOAT32
        * (STATES[parameters.optimiser.kind] * own + STATES["adamw"] * sum(trained.values())),
        step=live.peak + rest,
        flops=counted.total,
    )


def _runner(network: NetworkParameters, num_classes: int, parameters: TrainParameters) -> StepRunner:
    """A training's modules without memory, in the dtype that most of its activations have."""
    with META:
        built = construct(network, num_classes)
        method = build_method(parameters.method, parameters.objective)
        auxiliary = method.build_modules(built, num_classes)
    for module in (built, *auxiliary.values()):
        module.train()
        if parameters.precision == "bfloat16":
            _in_bfloat16(module)
    plain = parameters.model_copy(update={"precision": "float32", "compile": False})
    return StepRunner(Learner(built, auxiliary, method, plain, 0, (), (0,)), META)


def _in_bfloat16(module: nn.Module) -> None:
    """The meta device has no autocast: its products are made in bfloat16 by weights and inputs of that dtype."""
    module.to(torch.bfloat16)
    networks: list[nn.Module] = [one for one in module.modules() if isinstance(one, SegmentationNetwork)]
    for reader in networks or [module]:
        reader.register_forward_pre_hook(lambda _, inputs: tuple(map(_narrow, inputs)))


def _narrow(tensor: Tensor) -> Tensor:
    """A float tensor in bfloat16; a mask as it is."""
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor


def _batch(count: int, size: WidthHeight, labelled: bool) -> Batch:
    width, height = size
    with META:
        images = torch.empty(count, 3, height, width, dtype=torch.uint8)
        labels = torch.empty(count, height, width, dtype=torch.uint8) if labelled else None
    return Batch(images, labels, tuple(str(slot) for slot in range(count)))


def _numbers(tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)
