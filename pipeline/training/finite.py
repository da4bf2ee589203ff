"""A watch for NaN and infinity that reads one step late, so that the device never waits for the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.artifacts.errors import SegadaptError


@dataclass(frozen=True)
class _Pending:
    step: int
    names: tuple[str, ...]
    finite: Tensor
    copied: torch.cuda.Event | None
    samples: Mapping[str, Sequence[str]]


class FiniteWatch:
    """Holds the flags of the newest step until `complaint` reads them."""

    def __init__(self) -> None:
        self._pending: _Pending | None = None

    def submit(
        self, step: int, names: tuple[str, ...], values: Tensor, samples: Mapping[str, Sequence[str]]
    ) -> None:
        """Start copying whether each of `values` (one per name) is finite; `samples`: names by domain."""
        flags = torch.isfinite(values)
        if flags.device.type != "cuda":
            self._pending = _Pending(step, names, flags, None, samples)
            return
        host = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        host.copy_(flags, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._pending = _Pending(step, names, host, copied, samples)

    def complaint(self) -> str | None:
        """Read the flags of the step submitted last; what is wrong with it, or None."""
        pending, self._pending = self._pending, None
        if pending is None:
            return None
        if pending.copied is not None:
            pending.copied.synchronize()
        bad = [name for name, fine in zip(pending.names, pending.finite.tolist(), strict=True) if not fine]
        if not bad:
            return None
        shown = "; ".join(f"{domain}: {', '.join(names)}" for domain, names in pending.samples.items())
        return (
            f"step {pending.step}: {', '.join(bad)} is not finite (NaN or infinity), on the images {shown}. "
            "Nothing of this step was saved. Look at these images and labels; if they are sound, lower "
            "optimiser.lr"
        )


def refuse_non_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    """Raise SegadaptError naming the first floating tensor that holds NaN or infinity, before it is saved."""
    by_device: dict[torch.device, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            by_device.setdefault(tensor.device, {})[name] = tensor.detach()
    for floating in by_device.values():
        # NaN and infinity both survive a maximum of absolute values; one read for all tensors of a device.
        extremes = torch.stack([tensor.abs().max().float() for tensor in floating.values()])
        for name, fine in zip(floating, torch.isfinite(extremes).tolist(), strict=True):
            if not fine:
                raise SegadaptError(
                    f"after step {step}: tensor {name} holds NaN or infinity; nothing of it was saved. Lower "
                    "optimiser.lr"
                )
