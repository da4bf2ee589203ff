"""ASS-R: adversarial alignment of class features with a few labelled target images (Wang et al., CVPRW 2020).

AdaptSegNet plus cross-entropy on labelled target images, plus a second discriminator on the mean vector of
each class in an image. The paper's open details are filled in by a reconstruction, `docs/methods/ass.md`,
hence the name "ASS-R" in results.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batch import Batch
from pipeline.methods.adaptseg import Adaptseg, softmax_map
from pipeline.methods.base import Context, Term
from pipeline.methods.losses import (
    Maps,
    adversarial_term,
    discriminator_term,
    image_size,
    labels_of,
    segmentation_term,
    upsampled,
)
from pipeline.methods.parameters import AssParameters
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.discriminator import VectorDiscriminator
from pipeline.numerics.class_vectors import ClassVectors, class_vectors
from pipeline.numerics.losses import SOURCE_DOMAIN, TARGET_DOMAIN, domain_loss

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
        seen: dict[str, Maps] = {}
        vectors: dict[str, ClassVectors] = {}
        if "source" in batch:
            yield self._source_term(network, batch["source"], context, seen, vectors)
        if "target" in batch:
            yield self._target_term(modules, batch["target"], context, seen)
        if "labelled" in batch:
            yield self._labelled_term(modules, batch["labelled"], context, vectors)
        if {"source", "target"} <= seen.keys():
            for level, maps in seen["source"].items():
                yield discriminator_term(modules, level, maps, seen["target"][level], self.gan, context)
        if {"source", "labelled"} <= vectors.keys():
            yield self._semantic_discriminator_term(modules, vectors, batch, context)

    def _source_term(
        self,
        network: SegmentationNetwork,
        batch: Batch,
        context: Context,
        seen: dict[str, Maps],
        vectors: dict[str, ClassVectors],
    ) -> Term:
        """Make AdaptSegNet's source term; leave what the discriminators will see in `seen` and `vectors`."""
        labels = labels_of(batch, "source")
        output = network(batch.images)
        with torch.no_grad():
            whole = upsampled(network, output, image_size(batch))
            seen["source"] = {level: softmax_map(value) for level, value in whole.items()}
            if self.parameters.semantic_weight > 0:
                vectors["source"] = self._vectors(output, labels, context)
        return segmentation_term(network, output, labels, context)

    def _target_term(
        self,
        modules: Mapping[str, nn.Module],
        batch: Batch,
        context: Context,
        seen: dict[str, Maps],
    ) -> Term:
        """Make AdaptSegNet's adversarial term on the target images; leave their maps in `seen`."""
        maps, main = self._target(cast(SegmentationNetwork, modules["network"]), batch)
        seen["target"] = {level: value.detach() for level, value in maps.items()}
        return adversarial_term(modules, maps, self._weights(), self.gan, context.image_share["target"], main)

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
        semantic = self._vector_loss(modules, found, SOURCE_DOMAIN, len(labels), context)
        semantic = semantic * context.image_share["labelled"]
        return Term(
            "labelled",
            term.value + semantic * own.semantic_weight,
            1.0,
            summands={**term.summands, term.name: term.value.detach(), "semantic": semantic.detach()},
        )

    def _semantic_discriminator_term(
        self,
        modules: Mapping[str, nn.Module],
        vectors: Mapping[str, ClassVectors],
        batch: Mapping[str, Batch],
        context: Context,
    ) -> Term:
        """Half the loss on the source's class vectors (0) plus half on the labelled target's (1)."""
        sides = {"source": SOURCE_DOMAIN, "labelled": TARGET_DOMAIN}
        losses = [
            self._vector_loss(modules, vectors[side], domain, len(batch[side].names), context)
            * context.image_share[side]
            for side, domain in sides.items()
        ]
        return Term(SEMANTIC, 0.5 * losses[0] + 0.5 * losses[1], 1.0, updates=(SEMANTIC,))

    def _vectors(self, output: Output, labels: Tensor, context: Context) -> ClassVectors:
        """Average the chosen tensor over each class of each image, on the network's grid."""
        of_feature = self.parameters.semantic_tensor == "feature"
        maps = output.feature if of_feature else softmax_map(output.main)
        return class_vectors(maps, labels, context.num_classes)

    def _vector_loss(
        self,
        modules: Mapping[str, nn.Module],
        vectors: ClassVectors,
        domain: int,
        images: int,
        context: Context,
    ) -> Tensor:
        """Mean over images of the mean over an image's class vectors; an image without any counts as 0.

        Two means, so that the loss of a step does not depend on how its images are cut into micro-batches.
        """
        answers = self._answers(modules[SEMANTIC], vectors, context.num_classes)
        losses = [domain_loss(answers[vectors.images == image], domain, self.gan) for image in range(images)]
        return torch.stack(losses).mean()

    def _answers(self, discriminator: nn.Module, vectors: ClassVectors, num_classes: int) -> Tensor:
        """Raw answers (M,) of the discriminator, which sees each vector joined with its class, one-hot."""
        one_hot = functional.one_hot(vectors.classes, num_classes).to(vectors.vectors.dtype)
        return discriminator(torch.cat([vectors.vectors, one_hot], dim=1)).squeeze(1)
