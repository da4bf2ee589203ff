"""PLCA: pixel-level cycle association (Kang et al., NeurIPS 2020).

Source pixels are associated with target pixels and back, on features and on predictions; cycles that end in
the class they started from are made more likely. `docs/methods/plca.md` says what is exact and what is ours.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.losses import (
    grouped_lovasz,
    grouped_mean,
    labels_of,
    map_size,
    segmentation_term,
    upsampled,
    weighted,
)
from pipeline.methods.parameters import ASSOCIATION_IMAGES, PlcaParameters
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.numerics.aggregation import aggregate_cosine, aggregate_kl
from pipeline.numerics.association import (
    AssociationLoss,
    Metric,
    cycle_association,
    pooled_mean,
)
from pipeline.numerics.label_grid import labels_on_grid
from pipeline.numerics.lsr import lsr
from pipeline.numerics.streaming import widen

AGGREGATION_SHARE = 0.5
"""Share of its aggregate that the target is mixed with."""
LSR_G = 10.0
"""Mean -log p, in nats, below which LSR sharpens."""


class Plca(Method[PlcaParameters]):
    """Cross-entropy, Lovasz-softmax, association of features and of predictions, LSR on both domains."""

    def __init__(self, parameters: PlcaParameters) -> None:
        super().__init__(parameters)
        self.domains = tuple(reversed(self.domains))

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield the whole objective as one term: the associations tie both domains' graphs together.

        The target is forwarded first, as in the released code. A domain that is absent takes its summands
        with it; a weight of 0 leaves a summand out.
        """
        network = cast(SegmentationNetwork, modules["network"])
        target = network(batch["target"].images) if "target" in batch else None
        source = network(batch["source"].images) if "source" in batch else None
        values: dict[str, Tensor] = {}
        if source is not None:
            values |= self._supervised(network, source, batch["source"], context)
            values |= self._sharpness(source, "source", context)
        if target is not None:
            values |= self._sharpness(target, "target", context)
        if source is not None and target is not None:
            values |= self._associations(source, target, batch, context)
        if values:
            yield Term(
                "plca",
                weighted(values, self._weights()),
                1.0,
                summands={name: value.detach() for name, value in values.items()},
                target_logits=None if target is None else target.main.detach(),
            )

    def _weights(self) -> dict[str, float]:
        own = self.parameters
        return {
            "segmentation": 1.0,
            "lovasz": own.lovasz_weight,
            "feature_association": own.feature_association_weight,
            "prediction_association": own.prediction_association_weight,
            "lsr_source": own.lsr_weight,
            "lsr_target": own.lsr_weight,
        }

    def _supervised(
        self, network: SegmentationNetwork, output: Output, batch: Batch, context: Context
    ) -> dict[str, Tensor]:
        labels = labels_of(batch, "source")
        values = {"segmentation": segmentation_term(network, output, labels, context).value}
        if self.parameters.lovasz_weight > 0:
            logits = upsampled(network, output, map_size(labels))["main"]
            mean = grouped_lovasz(logits, labels, self.parameters.lovasz_images)
            values["lovasz"] = mean * context.image_share["source"]
        return values

    def _sharpness(self, output: Output, domain: str, context: Context) -> dict[str, Tensor]:
        if self.parameters.lsr_weight == 0:
            return {}
        return {f"lsr_{domain}": lsr(output.main, LSR_G) * context.image_share[domain]}

    def _associations(
        self, source: Output, target: Output, batch: Mapping[str, Batch], context: Context
    ) -> dict[str, Tensor]:
        values = {}
        if self.parameters.feature_association_weight > 0:
            values["feature_association"] = self._association(
                source.feature, target.feature, "cos", batch, context
            )
        if self.parameters.prediction_association_weight > 0:
            values["prediction_association"] = self._association(
                torch.softmax(widen(source.main), dim=1),
                torch.softmax(widen(target.main), dim=1),
                "kl",
                batch,
                context,
            )
        return values

    def _association(
        self,
        source: Tensor,
        target: Tensor,
        metric: Metric,
        batch: Mapping[str, Batch],
        context: Context,
    ) -> Tensor:
        """Mean cost of the closed cycles of maps (B, C, h, w): source image k with target image k."""
        labels = labels_on_grid(labels_of(batch["source"], "source"), map_size(source))
        pairs = [
            self._pair(one, other, own_labels, metric)
            for one, other, own_labels in zip(source.unbind(), target.unbind(), labels, strict=True)
        ]
        mean = grouped_mean(len(pairs), ASSOCIATION_IMAGES, lambda group: pooled_mean(pairs[group]))
        return mean * context.image_share["source"]

    def _pair(self, source: Tensor, target: Tensor, labels: Tensor, metric: Metric) -> AssociationLoss:
        """Associate the positions of one source map (C, h, w) with those of one target map."""
        aggregate = aggregate_cosine if metric == "cos" else aggregate_kl
        target_rows = aggregate(target.flatten(1).T, AGGREGATION_SHARE)
        return cycle_association(source.flatten(1).T, target_rows, labels.flatten(), metric)
