"""How much a step computes: the floating-point operations of its products, counted on any device."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward


class CountedFlops(TorchDispatchMode):
    """Counts the operations of all convolutions, matrix products and attention inside: `total`.

    torch's own counter hooks every module, which backward passes of a part of the weights do not stand, and takes
    the gradient of a depthwise convolution for that of a full one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator, and add what it computes."""
        made = func(*args, **(kwargs or {}))
        packet = getattr(func, "overloadpacket", None)
        if packet is _CONVOLUTION_BACKWARD:
            self.total += _backward_flops(*args)
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=made)
        return made


def _backward_flops(gradient: Any, inputs: Any, weight: Any, *options: Any) -> int:
    """As many as the forward pass for each of the gradients of inputs and weight that is asked for."""
    transposed, (of_inputs, of_weight, _) = options[4], options[-1]
    once = conv_flop_count(inputs.shape, weight.shape, gradient.shape, transposed=transposed)
    return once * (of_inputs + of_weight)
