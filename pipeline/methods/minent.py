"""MinEnt: entropy minimisation on the target (Vu et al., ADVENT, CVPR 2019, section 3.1)."""

from collections.abc import Iterator, Mapping
from typing import cast

from torch import nn

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.losses import (
    image_size,
    labels_of,
    segmentation_term,
    upsampled,
    weighted,
    with_lovasz,
)
from pipeline.methods.parameters import MinentParameters
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics.entropy import entropy_map

AUX_WEIGHT = 2e-4
"""Weight of the aux head's mean entropy. Source: ADVENT, released code."""


class Minent(Method[MinentParameters]):
    """Source cross-entropy plus the mean normalised entropy of the target's prediction."""

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield the supervised term, then the entropy term."""
        network = cast(SegmentationNetwork, modules["network"])
        if "source" in batch:
            labels = labels_of(batch["source"], "source")
            output = network(batch["source"].images)
            term = segmentation_term(network, output, labels, context)
            yield with_lovasz(term, output.main, labels, self.parameters, context)
            del output, term  # the loop has freed the graph; nothing here may keep its tensors
        if "target" in batch:
            yield self._entropy_term(network, batch["target"], context)

    def _entropy_term(self, network: SegmentationNetwork, target: Batch, context: Context) -> Term:
        logits = upsampled(network, network(target.images), image_size(target))
        share = context.image_share["target"]
        entropies = {level: entropy_map(value).mean() * share for level, value in logits.items()}
        weights = {"main": self.parameters.entropy_weight, "aux": AUX_WEIGHT}
        summands = {f"entropy_{level}": value.detach() for level, value in entropies.items()}
        main = logits["main"].detach()
        return Term("entropy", weighted(entropies, weights), 1.0, summands=summands, target_logits=main)
