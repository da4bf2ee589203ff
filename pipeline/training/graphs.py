"""A network's passes as CUDA graphs: all kernels of a pass are launched at once, with the same bits.

A GPU finishes a small kernel sooner than the host launches the next, so that most steps take as long as their launching
(`docs/experiments.md`). A pass over images of one size launches the same kernels each time: it is recorded once, and
played from then on. What is recorded reads and writes the same memory each time, so images are copied in, and results
and gradients copied out.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.numerics.precision import no_autocast
from pipeline.numerics.upsampling import matrices_read

_log = logging.getLogger(__name__)

PLAIN_PASSES = 3
"""Passes of a kind that are made as written before one is recorded: libraries choose their kernels in them."""
MOST_AT_ONCE = 4
"""Recordings of one kind: as many passes can wait for their backward pass at one time."""
Tensors = list[Tensor | None]


class Recording(Protocol):
    """Work that was recorded once: `play` does it again, and leaves its results in the same tensors."""

    results: Tensors

    def play(self) -> None:
        """Do the work again."""
        ...


Recorder = Callable[[Callable[[], Tensors], Recording | None], Recording]
"""Records work; what it leaves in memory may be read by work that is recorded with the former recording."""


class CudaRecording:
    """A CUDA graph."""

    graph: torch.cuda.CUDAGraph
    results: Tensors

    def __init__(self, work: Callable[[], Tensors], former: Recording | None) -> None:
        pool = former.graph.pool() if isinstance(former, CudaRecording) else None
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            # Only this thread's calls are watched: a loader's thread pins memory meanwhile.
            with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
                self.results = work()
        except RuntimeError:
            torch.cuda.set_stream(stream)  # a capture that cannot be ended does not leave its own
            raise

    def play(self) -> None:
        """Launch the graph."""
        self.graph.replay()


def play_passes(network: SegmentationNetwork, device: torch.device, wanted: bool) -> None:
    """Let a network on a GPU play its passes in place of making them, from the fourth of each kind on, if `wanted`.

    It stays the same module with the same tensors. Passes that cannot be recorded, and those for whose recording
    the GPU has no room, are made as written, to the same bits.
    """
    if device.type == "cuda" and network.same_kernels:
        torch.cuda.set_device(device)  # graphs are of the current one
        Passes(network, CudaRecording, has_room if wanted else no_room)


def no_room() -> bool:
    """Record nothing."""
    return False


def has_room() -> bool:
    """Whether a recording, which keeps its memory to itself, leaves as much as was ever needed at one time."""
    free, _ = torch.cuda.mem_get_info()
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return free + unused > 2 * torch.cuda.max_memory_allocated()


class Passes:
    """What a network's `forward` is replaced by."""

    def __init__(self, network: SegmentationNetwork, record: Recorder, has_room: Callable[[], bool]) -> None:
        self.network, self.record, self.has_room = network, record, has_room
        self.written = network.forward
        self.made: dict[object, int] = {}
        self.recorded: dict[object, list[RecordedPass]] = {}
        network.forward = self  # type: ignore[method-assign]

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Output]:
        """A copy of the network makes its passes as written."""
        return deepcopy(self.written, memo)

    def __call__(self, images: Tensor, *more: Any) -> Output:
        """One pass, as `SegmentationNetwork.forward` says."""
        if more or images.requires_grad:
            return self._as_written(images, *more)
        kind = (
            *(images.shape, images.stride(), images.dtype, self.network.training),
            *(torch.is_grad_enabled(), torch.is_autocast_enabled(images.device.type)),
        )
        self.made[kind] = self.made.get(kind, 0) + 1
        if self.made[kind] <= PLAIN_PASSES:
            return self._as_written(images)
        free = self._free(kind, images)
        return self._as_written(images) if free is None else free(images)

    def _as_written(self, images: Tensor, *more: Any) -> Output:
        """One pass; its results' gradients have the order of memory that a recording gives them."""
        output = self.written(images, *more)
        named = {name: one for name, one in output._asdict().items() if isinstance(one, Tensor)}
        ordered = _Ordered.apply(*named.values())
        return output._replace(**dict(zip(named, ordered, strict=True)))

    def _free(self, kind: object, images: Tensor) -> "RecordedPass | None":
        """A recording of that kind whose backward pass is done, a new one where there is none, or None."""
        known = self.recorded.setdefault(kind, [])
        for one in known:
            if not one.waiting:
                return one
        if len(known) == MOST_AT_ONCE or not self.has_room():
            return None
        try:
            known.append(RecordedPass(_Written(self), images, self.record))
        except RuntimeError as error:
            _log.warning(
                "passes are launched kernel by kernel, since torch %s could not record one as a CUDA graph: %s",
                *(torch.__version__, str(error).strip().partition("\n")[0]),
            )
            self.has_room = no_room
            return None
        return known[-1]


class _Written(nn.Module):
    """A network whose passes are made as written, whatever its `forward` is."""

    def __init__(self, passes: Passes) -> None:
        super().__init__()
        self.network, self.written = passes.network, passes.written

    def forward(self, images: Tensor) -> Output:
        return self.written(images)


class RecordedPass:
    """One pass, and its backward pass where gradients are wanted.

    `waiting`: its backward pass may still come, so what it left in memory must stay.
    """

    def __init__(self, network: nn.Module, images: Tensor, record: Recorder) -> None:
        self.waiting, self.number = False, 0
        gradients = torch.is_grad_enabled()
        trained = {name: one for name, one in network.named_parameters() if gradients and one.requires_grad}
        self.trained = list(trained.values())
        # A weight that an earlier pass has read is bound to that pass's stream; the same memory by another name is not.
        aliases = {name: one.detach().requires_grad_() for name, one in trained.items()}
        self.images = images.clone(memory_format=torch.preserve_format)

        def make() -> Tensors:
            self.made: Output = functional_call(network, aliases, (self.images,))
            return [self.made.main, self.made.aux, self.made.feature, self.made.skip]

        def derive() -> Tensors:
            outputs = [one for one in self.made if isinstance(one, Tensor) and one.requires_grad]
            with no_autocast(images.device.type):
                weights = list(aliases.values())
                return list(torch.autograd.grad(outputs, weights, self.incoming, allow_unused=True))

        # Played work reads them where they lie, and asks nobody to keep them.
        with matrices_read() as self.matrices:
            self.forward = record(make, None)
            self.incoming = [torch.zeros_like(one) for one in self._results() if one.requires_grad]
            self.backward = record(derive, self.forward) if self.incoming else None

    def _results(self) -> list[Tensor]:
        return [one for one in self.forward.results if one is not None]

    def __call__(self, images: Tensor) -> Output:
        """Play the pass on images of the recorded kind."""
        played = iter(_Played.apply(self, images, *self.trained))
        main, aux, feature, skip = (None if one is None else next(played) for one in self.forward.results)
        assert main is not None and feature is not None
        return Output(main, aux, feature, skip)

    def play(self, images: Tensor) -> list[Tensor]:
        """Play the forward pass; its results, copied."""
        self.number += 1
        self.images.copy_(images)
        self.forward.play()
        return [one.detach().clone() for one in self._results()]

    def play_back(self, number: int, incoming: Sequence[Tensor]) -> Tensors:
        """Play the backward pass of the forward pass `number`; its gradients, copied."""
        if self.backward is None or number != self.number:
            raise RuntimeError("a pass was played again before its backward pass")
        for held, given in zip(self.incoming, incoming, strict=True):
            held.copy_(given)
        self.backward.play()
        found = [one for one in self.backward.results if one is not None]
        copies = iter(torch._foreach_mul(found, 1.0))
        return [None if one is None else next(copies) for one in self.backward.results]


class _Hold:
    """Keeps a recording waiting until its backward pass is done, or nothing is left that could ask for it."""

    def __init__(self, recorded: RecordedPass) -> None:
        self.recorded, self.number = recorded, recorded.number
        recorded.waiting = True

    def release(self) -> None:
        if self.number == self.recorded.number:
            self.recorded.waiting = False

    __del__ = release


class _Ordered(torch.autograd.Function):
    """Tensors as they are, and gradients in the tensors' order of memory."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.mark_non_differentiable(*(one for one in tensors if not one.requires_grad))
        ctx.like = [torch.empty_like(one, device="meta") for one in tensors]
        return tuple(one.view_as(one) for one in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            one if one.stride() == like.stride() else torch.empty_like(like, device=one.device).copy_(one)
            for one, like in zip(incoming, ctx.like, strict=True)
        )


class _Played(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recorded: RecordedPass, images: Tensor, *trained: Tensor) -> tuple[Tensor, ...]:
        results = recorded.play(images)
        wanted = [one for one in recorded.forward.results if one is not None]
        constant = [own for own, one in zip(results, wanted, strict=True) if not one.requires_grad]
        ctx.mark_non_differentiable(*constant)
        ctx.wanted = [one.requires_grad for one in wanted]
        ctx.hold = _Hold(recorded) if recorded.backward is not None else None
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        hold: _Hold = ctx.hold
        given = [one for one, wanted in zip(incoming, ctx.wanted, strict=True) if wanted]
        gradients = hold.recorded.play_back(hold.number, given)
        hold.release()
        return (None, None, *gradients)
