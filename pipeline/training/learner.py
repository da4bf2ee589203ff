"""What a training stage trains, whoever drives it: a network, and the method that says towards what."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from pipeline.methods.base import Method
from pipeline.networks.base import SegmentationNetwork
from pipeline.training.parameters import TrainParameters


@dataclass(frozen=True)
class Learner:
    """A network, its method, and all that decides the bits of their training besides images and devices.

    `auxiliary`: the method's modules by name (discriminators, teachers). `seed`: of dropout, order and
    augmentation. `class_names`: of the network's outputs, for the log; numbers where it is empty. `things`: ids of
    the classes of countable objects, for an objective that asks for them.
    """

    network: SegmentationNetwork
    auxiliary: Mapping[str, nn.Module]
    method: Method
    parameters: TrainParameters
    seed: int
    class_names: tuple[str, ...] = ()
    things: tuple[int, ...] = ()

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All modules by name, as methods and states know them: `network` and the auxiliary ones."""
        return {"network": self.network, **self.auxiliary}
