"""Supervised training on labelled images: source-only models, oracles, plain self-training.

Target images without labels are never loaded, so that their statistics cannot leak through BatchNorm.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from torch import nn

from pipeline.methods.base import Context, DeviceBatch, Term
from pipeline.methods.losses import labels_of, map_size, segmentation_term, upsampled
from pipeline.methods.parameters import SupervisedParameters
from pipeline.networks.base import SegmentationNetwork


class Supervised:
    """Cross-entropy on the source, and optionally on labelled target images (`docs/methods/intrada.md`)."""

    def __init__(self, parameters: SupervisedParameters) -> None:
        self.parameters = parameters
        self.domains: tuple[str, ...] = parameters.domains()

    def build_modules(self, network: SegmentationNetwork, num_classes: int) -> dict[str, nn.Module]:
        """Return no auxiliary modules."""
        return {}

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, DeviceBatch], context: Context
    ) -> Iterator[Term]:
        """Yield one term per labelled domain."""
        network = cast(SegmentationNetwork, modules["network"])
        weights = {"source": 1.0, "labelled": self.parameters.labelled_weight}
        for domain in self.domains:
            if domain in batch:
                labels = labels_of(batch[domain], domain)
                logits = upsampled(network, network(batch[domain].images), map_size(labels))
                yield segmentation_term(logits, labels, context, domain, weights[domain])

    def after_step(self, modules: Mapping[str, nn.Module], context: Context) -> None:
        """Do nothing."""
