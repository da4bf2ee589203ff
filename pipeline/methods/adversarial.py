"""The step that AdaptSegNet and AdvEnt share; they differ in the map that their discriminators see."""

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.discriminators import (
    adversarial_term,
    answers_on,
    discriminator_name,
    discriminator_term,
)
from pipeline.methods.losses import (
    Maps,
    image_size,
    labels_of,
    levels,
    segmentation_term,
    upsampled,
    with_lovasz,
)
from pipeline.methods.parameters import AdaptsegParameters, AdventParameters, GanKind
from pipeline.networks.base import Output, SegmentationNetwork
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
            output = network(batch["source"].images)
            term, source_maps = self._source(network, batch["source"], output, context)
            del output
            yield term
            del term  # the loop has freed the graph; nothing here may keep its tensors
        if "target" not in batch:
            return
        term, answers = self._target(modules, batch["target"], context)
        yield term
        del term
        for level, seen in source_maps.items():
            yield discriminator_term(modules, level, seen, answers[level], self.gan, context)

    def _source(
        self, network: SegmentationNetwork, batch: Batch, output: Output, context: Context
    ) -> tuple[Term, Maps]:
        """Make the supervised term, and the detached maps that the discriminators see."""
        labels = labels_of(batch, "source")
        with torch.no_grad():
            seen = upsampled(network, output, image_size(batch))
            maps = {level: self.map_of(value) for level, value in seen.items()}
        term = segmentation_term(network, output, labels, context)
        return with_lovasz(term, output.main, labels, self.parameters, context), maps

    def _target(self, modules: Mapping[str, nn.Module], batch: Batch, context: Context) -> tuple[Term, Maps]:
        """Make the adversarial term, and the answers of each level's discriminator for its own term."""
        network = cast(SegmentationNetwork, modules["network"])
        logits = upsampled(network, network(batch.images), image_size(batch))
        answers = answers_on(modules, {level: self.map_of(value) for level, value in logits.items()})
        weights = {
            "main": self.parameters.adversarial_weight,
            "aux": self.parameters.adversarial_aux_weight,
        }
        share, main = context.image_share["target"], logits["main"].detach()
        term = adversarial_term(answers, weights, self.gan, share, main)
        return term, {level: answer.to_discriminator for level, answer in answers.items()}
