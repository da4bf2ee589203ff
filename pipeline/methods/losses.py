"""What several methods share: forward passes, up-sampled logits, the supervised cross-entropy."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.artifacts.errors import DataError
from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Term
from pipeline.methods.objective import LovaszParameters
from pipeline.networks.base import Detail, Output, SegmentationNetwork
from pipeline.numerics import Size
from pipeline.numerics.label_grid import labels_on_grid
from pipeline.numerics.lovasz import lovasz_softmax
from pipeline.numerics.upsampled_cross_entropy import upsampled_cross_entropy_sum

Maps = dict[str, Tensor]
"""Maps (B, K, H, W), or sums over them, by level: `main`, and `aux` from a multi-level network."""

SEGMENTATION_WEIGHTS = {"main": 1.0, "aux": 0.1}
"""Weights of the cross-entropy by level. Source: AdaptSegNet (Tsai 2018), released code."""

DETAIL_WEIGHTS = {"main": 0.9, "detail": 0.1}
"""The same of a network of two resolutions. Source: HRDA (Hoyer 2022), released code."""


def weights_of(output: Output) -> Mapping[str, float]:
    """Name the weights of an output's levels."""
    return SEGMENTATION_WEIGHTS if output.detail is None else DETAIL_WEIGHTS


def window(maps: Tensor, detail: Detail) -> Tensor:
    """Cut a detail's window out of maps (B, H, W) of the images' size."""
    return maps[:, detail.rows, detail.columns]


def levels(network: SegmentationNetwork) -> tuple[str, ...]:
    """Name the levels that a network has logits for, the main one first."""
    return ("main", "aux") if network.parameters_spec.levels == "multi" else ("main",)


def logits_of(output: Output) -> Maps:
    """Return an output's logits (B, K, h, w) on the network's grid, by level."""
    return {"main": output.main} if output.aux is None else {"main": output.main, "aux": output.aux}


def upsampled(network: SegmentationNetwork, output: Output, size: Size) -> Maps:
    """Resize an output's logits to `size` (height, width), float32, by level.

    A classifier's logits stay one cell: it is a segmenter with one pixel.
    """
    return {
        name: network.upsample(value, network.label_size(size)) for name, value in logits_of(output).items()
    }


def cross_entropy_sums(network: SegmentationNetwork, output: Output, labels: Tensor) -> Maps:
    """Sum the cross-entropy of an output's up-sampled logits over the labelled pixels, by level.

    `labels`: int64 (B, H, W), 255 ignored. No tensor of the labels' size times K is made.
    """
    return {
        name: upsampled_cross_entropy_sum(value, labels, network.align_corners)[0]
        for name, value in logits_of(output).items()
    }


def labels_of(batch: Batch, domain: str) -> Tensor:
    """Return a domain's labels; DataError where it has none."""
    if batch.labels is None:
        raise DataError(
            f"domain {domain}: {batch.names[0]} has no label, but the method trains on labels of this "
            "domain; name a dataset with labels or a pseudolabel stage"
        )
    return batch.labels


def map_size(tensor: Tensor) -> Size:
    """Return height and width of the last two axes."""
    return tensor.shape[-2], tensor.shape[-1]


def image_size(batch: Batch) -> Size:
    """Return height and width of a batch's images in pixels."""
    return map_size(batch.images)


def weighted(values: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum scalars by level, each times its weight."""
    return torch.stack([value * weights[name] for name, value in values.items()]).sum()


def valid_mean(total: Tensor, labels: Tensor, context: Context, domain: str) -> Tensor:
    """Mean of a sum over the labelled pixels of the domain's whole step."""
    return context.pixel_mean(total, domain)


def all_mean(total: Tensor, labels: Tensor, context: Context, domain: str) -> Tensor:
    """Mean of a sum over all pixels of the domain's whole step, ignored ones too."""
    return total / labels.numel() * context.image_share[domain]


MEANS = {"valid": valid_mean, "all": all_mean}
"""By `ce_denominator`."""


def segmentation_term(
    network: SegmentationNetwork,
    output: Output,
    labels: Tensor,
    context: Context,
    domain: str = "source",
    weight: float = 1.0,
    mean: Callable[[Tensor, Tensor, Context, str], Tensor] = valid_mean,
) -> Term:
    """Make the supervised term: mean cross-entropy of the main head plus a tenth of the aux head's.

    Of the output's logits, up-sampled to the labels' size. `labels`: int64 (B, H, W), 255 ignored. The mean
    is over the labelled pixels of the domain's whole step, or what `mean` says; a differentiable 0 without any.
    Source: AdaptSegNet (Tsai 2018), equations 3 and 5.
    """
    means = {
        name: mean(total, labels, context, domain)
        for name, total in cross_entropy_sums(network, output, labels).items()
    }
    if output.detail is not None:
        own = window(labels, output.detail)
        total, _ = upsampled_cross_entropy_sum(output.detail.logits, own, network.align_corners)
        means["detail"] = all_mean(total, own, context, domain)
    name = "segmentation" if domain == "source" else f"segmentation_{domain}"
    summands = {f"{name}_{level}": value.detach() for level, value in means.items()} if len(means) > 1 else {}
    return Term(name, weighted(means, weights_of(output)), weight, summands=summands)


def with_lovasz(
    term: Term, logits: Tensor, labels: Tensor, parameters: LovaszParameters, context: Context
) -> Term:
    """Add Lovasz-softmax to the source's supervised term, where it has a weight.

    `logits`: of the main head, (B, K, h, w), on the network's own grid, where the labels (B, H, W) are picked too.
    Source: Berman et al., CVPR 2018.
    """
    if parameters.lovasz_weight == 0:
        return term
    on_grid = labels_on_grid(labels, map_size(logits))
    lovasz = grouped_lovasz(logits, on_grid, parameters.lovasz_images) * context.image_share["source"]
    summands = {**term.summands, "cross_entropy": term.value.detach(), "lovasz": lovasz.detach()}
    return replace(term, value=term.value + parameters.lovasz_weight * lovasz, summands=summands)


def grouped_lovasz(logits: Tensor, labels: Tensor, images: int) -> Tensor:
    """Average Lovasz-softmax over groups of `images` images; `logits` (B, K, h, w), `labels` (B, h, w)."""
    return grouped_mean(len(labels), images, lambda group: lovasz_softmax(logits[group], labels[group]))


def grouped_mean(images: int, size: int, value_of: Callable[[slice], Tensor]) -> Tensor:
    """Average a pooled summand over groups of `size` of a micro-batch's images.

    A group weighs as many images as it has, so the step's value does not depend on how its images were cut
    into micro-batches and processes, as long as no group is cut.
    """
    total = []
    for start in range(0, images, size):
        group = slice(start, min(start + size, images))
        total.append(value_of(group) * ((group.stop - group.start) / images))
    return torch.stack(total).sum()
