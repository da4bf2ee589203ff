"""Supervised training on labelled images: source-only models, oracles, plain self-training.

Target images without labels are never loaded, so that their statistics cannot leak through BatchNorm.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from torch import nn

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.frozen_features import build_frozen, with_feature_distance
from pipeline.methods.losses import MEANS, labels_of, segmentation_term, with_lovasz
from pipeline.methods.parameters import SupervisedParameters
from pipeline.networks.base import SegmentationNetwork


class Supervised(Method[SupervisedParameters]):
    """Cross-entropy on the source, and optionally on labelled target images (`docs/methods/intrada.md`)."""

    def build_modules(self, network: SegmentationNetwork, num_classes: int) -> dict[str, nn.Module]:
        """Make what a distance of features needs."""
        return build_frozen(network, self.parameters.feature_distance)

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield one term per labelled domain."""
        network = cast(SegmentationNetwork, modules["network"])
        weights = {"source": 1.0, "labelled": self.parameters.labelled_weight}
        mean = MEANS[self.parameters.ce_denominator]
        for domain in self.domains:
            if domain in batch:
                labels = labels_of(batch[domain], domain)
                output = network(batch[domain].images)
                term = segmentation_term(network, output, labels, context, domain, weights[domain], mean)
                if domain == "source":
                    term = with_lovasz(term, output.main, labels, self.parameters, context)
                    wanted = self.parameters.feature_distance
                    term = with_feature_distance(
                        term, modules, output.feature, batch[domain], wanted, context
                    )
                yield term
