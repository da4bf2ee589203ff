"""ASS-R: adversarial alignment of class features with a few labelled target images (Wang et al., CVPRW 2020).

AdaptSegNet plus cross-entropy on labelled target images, plus a second discriminator on the mean vector of
each class in an image. The paper's open details are filled in by a reconstruction, `docs/methods/ass.md`,
hence the name "ASS-R" in results.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.data.batch import Batch
from pipeline.methods.adaptseg import Adaptseg, softmax_map
from pipeline.methods.base import Context, Term
from pipeline.methods.discriminators import discriminator_term
from pipeline.methods.losses import (
    Maps,
    labels_of,
    segmentation_term,
)
from pipeline.methods.parameters import AssParameters
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.discriminator import VectorDiscriminator
from pipeline.numerics.class_vectors import ClassVectors, class_vectors
from pipeline.numerics.losses import SOURCE_DOMAIN, TARGET_DOMAIN, domain_losses

SEMANTIC = "discriminator_semantic"
"""Name of the module that discriminates class vectors."""


class Ass(Adaptseg):
    """AdaptSegNet, target cross-entropy and semantic alignment; without the last two it is AdaptSegNet."""

    parameters: AssParameters

    def build_modules(self, network: SegmentationNetwork, num_classes: int) -> dict[str, nn.Module]:
        """Make AdaptSegNet's discriminators, then the semantic one where its weight is not 0."""
        modules = super().build_modules(network, num_classes)
        if self.parameters.semantic_weight > 0:
            of_feature = self.parameters.semantic_tensor == "feature"
            dim = network.feature_channels if of_feature else num_classes
            modules[SEMANTIC] = VectorDiscriminator(dim + num_classes)
        return modules

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield the network's terms for source, target and labelled images, then the discriminators' terms.

        Nothing is kept beyond a term but detached maps and vectors, so that its graph is free after it.
        """
        network = cast(SegmentationNetwork, modules["network"])
        maps: Maps = {}
        answers: Maps = {}
        vectors: dict[str, ClassVectors] = {}
        if "source" in batch:
            term, maps = self._source_term(network, batch["source"], context, vectors)
            yield term
            del term
        if "target" in batch:
            term, answers = self._target(modules, batch["target"], context)
            yield term
            del term
        if "labelled" in batch:
            yield self._labelled_term(modules, batch["labelled"], context, vectors)
        if answers:
            for level, seen in maps.items():
                yield discriminator_term(modules, level, seen, answers[level], self.gan, context)
        if {"source", "labelled"} <= vectors.keys():
            yield self._semantic_discriminator_term(modules, vectors, context)

    def _source_term(
        self,
        network: SegmentationNetwork,
        batch: Batch,
        context: Context,
        vectors: dict[str, ClassVectors],
    ) -> tuple[Term, Maps]:
        """Make AdaptSegNet's source term and maps; leave in `vectors` what the discriminator will see."""
        output = network(batch.images)
        term, maps = self._source(network, batch, output, context)
        if self.parameters.semantic_weight > 0:
            with torch.no_grad():
                vectors["source"] = self._vectors(output, labels_of(batch, "source"), context)
        return term, maps

    def _labelled_term(
        self,
        modules: Mapping[str, nn.Module],
        batch: Batch,
        context: Context,
        vectors: dict[str, ClassVectors],
    ) -> Term:
        """Cross-entropy on labelled target images, and their class vectors that should pass for source."""
        own, labels = self.parameters, labels_of(batch, "labelled")
        network = cast(SegmentationNetwork, modules["network"])
        output = network(batch.images)
        term = segmentation_term(network, output, labels, context, domain="labelled")
        if own.semantic_weight == 0:
            return term
        found = self._vectors(output, labels, context)
        vectors["labelled"] = found._replace(vectors=found.vectors.detach())
        semantic = self._vector_loss(modules, found, SOURCE_DOMAIN) * context.image_share["labelled"]
        return Term(
            "labelled",
            term.value + semantic * own.semantic_weight,
            1.0,
            summands={**term.summands, term.name: term.value.detach(), "semantic": semantic.detach()},
        )

    def _semantic_discriminator_term(
        self, modules: Mapping[str, nn.Module], vectors: Mapping[str, ClassVectors], context: Context
    ) -> Term:
        """Half the loss on the source's class vectors (0) plus half on the labelled target's (1)."""
        losses = [
            self._vector_loss(modules, vectors[side], domain) * context.image_share[side]
            for side, domain in (("source", SOURCE_DOMAIN), ("labelled", TARGET_DOMAIN))
        ]
        return Term(SEMANTIC, 0.5 * losses[0] + 0.5 * losses[1], 1.0, updates=(SEMANTIC,))

    def _vectors(self, output: Output, labels: Tensor, context: Context) -> ClassVectors:
        """Average the chosen tensor over each class of each image, on the network's grid."""
        of_feature = self.parameters.semantic_tensor == "feature"
        maps = output.feature if of_feature else softmax_map(output.main)
        return class_vectors(maps, labels, context.num_classes)

    def _vector_loss(self, modules: Mapping[str, nn.Module], vectors: ClassVectors, domain: int) -> Tensor:
        """Mean over images of the mean over an image's class vectors; an image without any counts as 0.

        Two means, so that the loss of a step does not depend on how its images are cut into micro-batches.
        """
        losses = domain_losses(self._answers(modules[SEMANTIC], vectors.vectors), domain, self.gan)
        present = vectors.present
        return ((losses * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).mean()

    def _answers(self, discriminator: nn.Module, vectors: Tensor) -> Tensor:
        """Raw answers (B, K) of the discriminator, which sees each vector of (B, K, C) with its class, one-hot."""
        images, classes = vectors.shape[:2]
        one_hot = torch.eye(classes, dtype=vectors.dtype, device=vectors.device)
        return discriminator(torch.cat([vectors, one_hot.expand(images, -1, -1)], dim=2)).squeeze(2)
