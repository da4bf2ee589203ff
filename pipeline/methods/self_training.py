"""Self-training on source labels and target pseudo-labels: ST, CBST, and CRST's regularisers.

Source: Zou et al., CBST, ECCV 2018, and CRST, ICCV 2019; `docs/methods/cbst.md`. What distinguishes ST from
CBST lies in the pseudo-labels, which another stage makes. Both papers shuffle source and target into one
list; here every step has `batch` images of each domain, and one mean over the labelled pixels of them all.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.artifacts.errors import DataError
from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.losses import (
    SEGMENTATION_WEIGHTS,
    Maps,
    cross_entropy_sums,
    labels_of,
    map_size,
    upsampled,
    weighted,
)
from pipeline.methods.parameters import SelfTrainingParameters
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.numerics import IGNORE
from pipeline.numerics.confidence_regularisers import regulariser_sum, soft_cross_entropy_sum

SOFT = "soft"
"""Name of the target's extra map that holds LRENT's soft labels, (B, K, h, w)."""


class SelfTraining(Method[SelfTrainingParameters]):
    """Cross-entropy over both domains' labelled pixels, plus `alpha` times a regulariser on the target."""

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield the source's summand, then the target's with its regulariser."""
        network = cast(SegmentationNetwork, modules["network"])
        if "source" in batch:
            yield self._source_term(network, batch["source"], context)
        if "target" in batch:
            yield self._target_term(network, batch["target"], context)

    def _source_term(self, network: SegmentationNetwork, batch: Batch, context: Context) -> Term:
        labels = labels_of(batch, "source")
        sums = cross_entropy_sums(network, network(batch.images), labels)
        losses = {level: joint_mean(total, context) for level, total in sums.items()}
        return Term("segmentation", weighted(losses, SEGMENTATION_WEIGHTS), 1.0)

    def _target_term(self, network: SegmentationNetwork, batch: Batch, context: Context) -> Term:
        labels = labels_of(batch, "target")
        output = network(batch.images)
        sums = self._target_sums(network, output, labels, batch)
        losses = {level: joint_mean(total, context) for level, total in sums.items()}
        value, summands = weighted(losses, SEGMENTATION_WEIGHTS), {}
        name = self.parameters.regulariser
        if name == "mrkld" or name == "mrent" or name == "mrl2":
            logits = upsampled(network, output, map_size(labels))["main"]
            total, _ = regulariser_sum(name, logits, labels)
            penalty = context.pixel_mean(total, "target")
            summands = {"segmentation_target": value.detach(), name: penalty.detach()}
            value = value + self.parameters.regulariser_weight() * penalty
        return Term("target", value, 1.0, summands=summands, target_logits=output.main.detach())

    def _target_sums(
        self, network: SegmentationNetwork, output: Output, labels: Tensor, batch: Batch
    ) -> Maps:
        """Sum the cross-entropy over the pixels that have a pseudo-label, by level."""
        if self.parameters.regulariser != "lrent":
            return cross_entropy_sums(network, output, labels)
        if SOFT not in batch.extras:
            raise DataError(
                f"target: {batch.names[0]} has no soft label; set `soft_alpha` on the pseudolabel stage, as "
                "`regulariser: lrent` needs it"
            )
        soft, kept = batch.extras[SOFT].float(), labels != IGNORE
        logits = upsampled(network, output, map_size(labels))
        return {level: soft_cross_entropy_sum(value, soft, kept)[0] for level, value in logits.items()}


def joint_mean(total: Tensor, context: Context) -> Tensor:
    """Divide a sum by both domains' labelled pixels of the whole step; 0 (differentiable) without any."""
    pixels = torch.stack(list(context.valid_pixels.values())).sum()
    return total / pixels.clamp(min=1.0)
