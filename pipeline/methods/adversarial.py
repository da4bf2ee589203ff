"""The step that AdaptSegNet and AdvEnt share; they differ in the map that their discriminators see."""

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.losses import (
    Maps,
    adversarial_term,
    discriminator_name,
    discriminator_term,
    image_size,
    labels_of,
    levels,
    segmentation_term,
    upsampled,
)
from pipeline.methods.parameters import AdaptsegParameters, AdventParameters, GanKind
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.discriminator import build_discriminator

MapOf = Callable[[Tensor], Tensor]
"""Logits (B, K, H, W) -> the map (B, K, H, W) that a discriminator sees."""


class Adversarial(Method[AdventParameters | AdaptsegParameters]):
    """Source cross-entropy, target maps that should pass for source, one discriminator per level."""

    def __init__(
        self, parameters: AdventParameters | AdaptsegParameters, map_of: MapOf, gan: GanKind
    ) -> None:
        super().__init__(parameters)
        self.map_of = map_of
        self.gan: GanKind = gan

    def build_modules(self, network: SegmentationNetwork, num_classes: int) -> dict[str, nn.Module]:
        """Make one discriminator per level that the network has; none where no weight makes them count."""
        if "target" not in self.domains:
            return {}
        return {
            discriminator_name(level): build_discriminator(network, num_classes) for level in levels(network)
        }

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield the supervised term, the adversarial term, then one term per discriminator.

        The adversarial term so sees the discriminators before their update of this step.
        """
        network = cast(SegmentationNetwork, modules["network"])
        source_maps: Maps = {}
        if "source" in batch:
            term, source_maps = self._source(network, batch["source"], context)
            yield term
            del term  # the loop has freed the graph; nothing here may keep its tensors
        if "target" not in batch:
            return
        maps, main = self._target(network, batch["target"])
        target_maps = {level: value.detach() for level, value in maps.items()}
        term = adversarial_term(modules, maps, self._weights(), self.gan, context.image_share["target"], main)
        del maps
        yield term
        del term
        for level, seen in source_maps.items():
            yield discriminator_term(modules, level, seen, target_maps[level], self.gan, context)

    def _source(self, network: SegmentationNetwork, batch: Batch, context: Context) -> tuple[Term, Maps]:
        """Make the supervised term, and the detached maps that the discriminators see."""
        labels = labels_of(batch, "source")
        output = network(batch.images)
        with torch.no_grad():
            seen = upsampled(network, output, image_size(batch))
            maps = {level: self.map_of(value) for level, value in seen.items()}
        return segmentation_term(network, output, labels, context), maps

    def _target(self, network: SegmentationNetwork, batch: Batch) -> tuple[Maps, Tensor]:
        """Make the maps with gradient, and the detached main logits."""
        logits = upsampled(network, network(batch.images), image_size(batch))
        return {level: self.map_of(value) for level, value in logits.items()}, logits["main"].detach()

    def _weights(self) -> dict[str, float]:
        return {
            "main": self.parameters.adversarial_weight,
            "aux": self.parameters.adversarial_aux_weight,
        }
