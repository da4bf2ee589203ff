"""A batch: some images of one domain with their labels, as loading makes it and as methods get it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images of one domain, their labels, names and further tensors; the first dimension of each is B.

    `images`: uint8 (B, 3, H, W), RGB, channels last in memory as loaded; for a method float32, normalised by
    the network's input profile, in the order of memory that the network is quick in. `labels`: class ids
    (B, h, w) and 255, uint8 as loaded, int64 for a method; None in a domain without labels. `names`: the B
    image names. `extras`: further tensors by name.
    """

    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, cut: slice) -> "Batch":
        return replace(self._each(lambda tensor: tensor[cut]), names=self.names[cut])

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`; a copy from page-locked memory does not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; called by torch's DataLoader."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        labels = None if self.labels is None else change(self.labels)
        extras = {name: change(tensor) for name, tensor in self.extras.items()}
        return Batch(change(self.images), labels, self.names, extras)
