"""Self-training with a mean teacher: DACS, DAFormer and MIC (`docs/methods/mean-teacher.md`).

The teacher labels the target as loaded (the weak view). The network learns from labelled images, from target images
onto which classes of labelled ones are pasted (the strong view), and from masked target images. What the training
publishes is the student.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.data.batch import Batch
from pipeline.data.margins import MARGINS
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.frozen_features import (
    build_frozen,
    feature_distance,
    updated,
    with_feature_distance,
)
from pipeline.methods.losses import (
    MEANS,
    image_size,
    labels_of,
    map_size,
    segmentation_term,
    upsampled,
    weighted,
    weights_of,
    window,
    with_lovasz,
)
from pipeline.methods.parameters import MeanTeacherParameters
from pipeline.methods.teacher import Teacher
from pipeline.methods.views import affine_grid, masked, masked_tokens, moved, moved_labels, recolored
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics.class_mix import class_mask, mixed
from pipeline.numerics.pseudo_label_weights import quality_weight, weighted_cross_entropy
from pipeline.numerics.randomness import Draws


@dataclass(frozen=True)
class Labelled:
    """Network input (B, 3, H, W), its labels int64 (B, h, w), and how much each counts, (B, h, w).

    `tokens`: bool (B, h', w'), those for which the network's mask token stands; None: it is given the images alone.
    """

    images: Tensor
    labels: Tensor
    weight: Tensor
    tokens: Tensor | None = None


class MeanTeacher(Method[MeanTeacherParameters]):
    """Cross-entropy on labelled images, on mixed ones and on masked ones, under the teacher's labels."""

    def build_modules(self, network: SegmentationNetwork, num_classes: int) -> dict[str, nn.Module]:
        """Make the teacher, equal to the network at the start, and what a distance of features needs."""
        return {"teacher": Teacher(network), **build_frozen(network, self.parameters.feature_distance)}

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        """Yield the supervised terms, the mixed one and, where it has a weight, the masked one."""
        network = cast(SegmentationNetwork, modules["network"])
        for domain in ("source", "labelled"):
            if domain in batch:
                yield self._supervised(modules, batch[domain], domain, context)
        if "target" not in batch:
            return
        yield from self._target_distance(modules, batch["target"], context)
        taught, logits = self._taught(cast(Teacher, modules["teacher"]), batch["target"])
        strong = self._strong(network, self._mixed(taught, batch, context), "mix", context)
        yield self._consistency("mixed", network, strong, 1.0, context, logits)
        if self.parameters.mask_weight > 0:
            strong = self._strong(network, taught, "mask", context)
            view = self._masked(network, strong, taught, context.draws("mask"))
            yield self._consistency("masked", network, view, self.parameters.mask_weight, context)

    def after_step(self, modules: Mapping[str, nn.Module], context: Context) -> None:
        """Let the teacher follow."""
        network, teacher = cast(SegmentationNetwork, modules["network"]), cast(Teacher, modules["teacher"])
        teacher.follow(network, self.parameters.teacher_decay)

    def _supervised(
        self, modules: Mapping[str, nn.Module], batch: Batch, domain: str, context: Context
    ) -> Term:
        network = cast(SegmentationNetwork, modules["network"])
        labels, output = labels_of(batch, domain), network(batch.images)
        mean = MEANS[self.parameters.ce_denominator]
        weight = 1.0 if domain == "source" else self.parameters.labelled_weight
        term = segmentation_term(network, output, labels, context, domain, weight, mean)
        if domain == "source":
            term = with_lovasz(term, output.main, labels, self.parameters, context)
            wanted = self.parameters.feature_distance
            term = with_feature_distance(term, modules, output.feature, batch, wanted, context)
        return term

    def _target_distance(
        self, modules: Mapping[str, nn.Module], batch: Batch, context: Context
    ) -> Iterator[Term]:
        """Yield the target's distance of features, which needs a pass of its own: the other views are changed ones."""
        wanted = self.parameters.feature_distance
        if wanted is None or wanted.where == "things":
            return
        feature = cast(SegmentationNetwork, modules["network"]).last_map(batch.images)
        value = feature_distance(modules, feature, batch, "target", context)
        yield Term("feature_distance_target", value, wanted.weight, updated(modules))

    @torch.no_grad()
    def _taught(self, teacher: Teacher, batch: Batch) -> tuple[Labelled, Tensor]:
        """Label target images by the teacher; the logits (B, K, h, w) too."""
        logits = self._answer(teacher, batch.images)
        confidence, labels = torch.softmax(logits, dim=1).max(dim=1)
        weight = quality_weight(confidence, self.parameters.quality)
        if MARGINS in batch.extras:
            weight = weight.masked_fill(batch.extras[MARGINS], 0.0)
        return Labelled(batch.images, labels, weight), logits

    def _answer(self, teacher: Teacher, images: Tensor) -> Tensor:
        """The teacher's logits at the images' size; with their mirror images, the logarithm of the mean probability."""

        def of(view: Tensor) -> Tensor:
            return upsampled(teacher.network, teacher.network(view), map_size(view))["main"]

        if not self.parameters.mirrored:
            return of(images)
        both = torch.stack(
            [torch.log_softmax(one, dim=1) for one in (of(images), of(images.flip(-1)).flip(-1))]
        )
        return torch.logsumexp(both, dim=0) - log(2.0)

    def _mixed(self, taught: Labelled, batch: Mapping[str, Batch], context: Context) -> Labelled:
        """Paste classes of the source image, or of the labelled target image, of the same slot."""
        names = [name for name in ("source", "labelled") if name in batch]
        if not names or self.parameters.class_share == 0:
            return taught
        for name in names:
            _check_sizes(batch[name], labels_of(batch[name], name), batch["target"])
        draws = context.draws("mix")
        chosen = [batch[names[own.below(len(names))]] for own in draws]
        images = torch.stack([partner.images[place] for place, partner in enumerate(chosen)])
        labels = torch.stack([cast(Tensor, partner.labels)[place] for place, partner in enumerate(chosen)])
        orders = [_class_order(own, context.num_classes) for own in draws]
        order = torch.tensor(orders).to(labels.device, non_blocking=True)  # the host goes on at once
        mask = class_mask(labels, order, self.parameters.class_share)
        return Labelled(
            mixed(mask, images, taught.images),
            mixed(mask, labels, taught.labels),
            mixed(mask, torch.ones_like(taught.weight), taught.weight),
        )

    def _strong(self, network: SegmentationNetwork, view: Labelled, name: str, context: Context) -> Labelled:
        """Change colors and places of a view, by the draws of that name."""
        profile, affine = network.profile, self.parameters.mix_affine
        images = recolored(view.images, profile, self.parameters.mix_color, context.draws(f"{name} color"))
        if affine is None:
            return Labelled(images, view.labels, view.weight)
        grid = affine_grid(map_size(images), affine, context.draws(f"{name} affine"), images.device)
        return Labelled(moved(images, grid, profile), *moved_labels(view.labels, view.weight, grid))

    def _masked(
        self, network: SegmentationNetwork, strong: Labelled, taught: Labelled, draws: Sequence[Draws]
    ) -> Labelled:
        """Leave out most of a strong view: squares of its pixels, or tokens inside the network."""
        if self.parameters.mask_kind == "squares":
            images = masked(strong.images, self.parameters.mask_block, draws)
            return Labelled(images, taught.labels, taught.weight)
        if network.token_stride is None:
            raise ConfigError(
                f"mask_kind: tokens needs a vision transformer, and {network.parameters_spec.backbone} is none; choose "
                "`mask_kind: squares`, or a network such as dinov2-vits14"
            )
        size, device = map_size(strong.images), strong.images.device
        tokens = masked_tokens(size, network.token_stride, draws, device)
        return Labelled(strong.images, taught.labels, taught.weight, tokens)

    def _consistency(
        self,
        name: str,
        network: SegmentationNetwork,
        view: Labelled,
        weight: float,
        context: Context,
        target_logits: Tensor | None = None,
    ) -> Term:
        """Make the weighted cross-entropy of a view, meaned over all pixels of the step's target images."""
        output = network(view.images) if view.tokens is None else network(view.images, view.tokens)
        share = context.image_share["target"]
        means = {
            level: weighted_cross_entropy(value, view.labels, view.weight) * share
            for level, value in upsampled(network, output, map_size(view.images)).items()
        }
        if output.detail is not None:
            labels, own = (window(one, output.detail) for one in (view.labels, view.weight))
            logits = network.upsample(output.detail.logits, map_size(labels))
            means["detail"] = weighted_cross_entropy(logits, labels, own) * share
        return Term(name, weighted(means, weights_of(output)), weight, target_logits=target_logits)


def _class_order(draws: Draws, count: int) -> list[int]:
    """Draw the classes 0..count-1 in random order."""
    numbers = [draws.uniform() for _ in range(count)]
    return sorted(range(count), key=numbers.__getitem__)


def _check_sizes(partner: Batch, labels: Tensor, target: Batch) -> None:
    if image_size(partner) != image_size(target) or map_size(labels) != image_size(target):
        raise DataError(
            f"{partner.names[0]} has {image_size(partner)} pixels (its label {map_size(labels)}) and target image "
            f"{target.names[0]} {image_size(target)}; classes are pasted between images of one size: give both "
            "domains the same `augmentation: crop`, or set `class_share: 0`"
        )
