"""Summands that several methods share: supervised cross-entropy, adversarial terms, discriminators' terms."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pipeline.artifacts.errors import DataError
from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Term
from pipeline.methods.parameters import GanKind
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.numerics.losses import SOURCE_DOMAIN, TARGET_DOMAIN, domain_loss
from pipeline.numerics.upsampled_cross_entropy import upsampled_cross_entropy_sum

Maps = dict[str, Tensor]
"""Maps (B, K, H, W), or sums over them, by level: `main`, and `aux` from a multi-level network."""

SEGMENTATION_WEIGHTS = {"main": 1.0, "aux": 0.1}
"""Weights of the cross-entropy by level. Source: AdaptSegNet (Tsai 2018), released code."""


def levels(network: SegmentationNetwork) -> tuple[str, ...]:
    """Name the levels that a network has logits for, the main one first."""
    return ("main", "aux") if network.parameters_spec.levels == "multi" else ("main",)


def logits_of(output: Output) -> Maps:
    """Return an output's logits (B, K, h, w) on the network's grid, by level."""
    return {"main": output.main} if output.aux is None else {"main": output.main, "aux": output.aux}


def upsampled(network: SegmentationNetwork, output: Output, size: tuple[int, int]) -> Maps:
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


def map_size(tensor: Tensor) -> tuple[int, int]:
    """Return height and width of the last two axes."""
    return tensor.shape[-2], tensor.shape[-1]


def image_size(batch: Batch) -> tuple[int, int]:
    """Return height and width of a batch's images in pixels."""
    return map_size(batch.images)


def weighted(values: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum scalars by level, each times its weight."""
    return torch.stack([value * weights[name] for name, value in values.items()]).sum()


def segmentation_term(
    network: SegmentationNetwork,
    output: Output,
    labels: Tensor,
    context: Context,
    domain: str = "source",
    weight: float = 1.0,
) -> Term:
    """Make the supervised term: mean cross-entropy of the main head plus a tenth of the aux head's.

    Of the output's logits, up-sampled to the labels' size. `labels`: int64 (B, H, W), 255 ignored. The mean
    is over the labelled pixels of the domain's whole step; a differentiable 0 without any.
    Source: AdaptSegNet (Tsai 2018), equations 3 and 5.
    """
    means = {
        name: context.pixel_mean(total, domain)
        for name, total in cross_entropy_sums(network, output, labels).items()
    }
    name = "segmentation" if domain == "source" else f"segmentation_{domain}"
    summands = {f"{name}_{level}": value.detach() for level, value in means.items()} if len(means) > 1 else {}
    return Term(name, weighted(means, SEGMENTATION_WEIGHTS), weight, summands=summands)


def discriminator_name(level: str) -> str:
    """Name the module that discriminates one level."""
    return f"discriminator_{level}"


def adversarial_term(
    modules: Mapping[str, nn.Module],
    maps: Maps,
    weights: Mapping[str, float],
    gan: GanKind,
    share: float,
    target_logits: Tensor,
) -> Term:
    """Make the network's adversarial term: target maps should pass for source, by level.

    `maps`: with gradient to the network, (B, K, H, W). The discriminators are constants of this term; the
    gradient flows through them. `share`: the micro-batch's share of the step's target images.
    Source: ADVENT (Vu 2019), equation 6, with source 0 and target 1.
    """
    losses = {
        level: domain_loss(modules[discriminator_name(level)](value), SOURCE_DOMAIN, gan) * share
        for level, value in maps.items()
    }
    summands = {f"adversarial_{level}": value.detach() for level, value in losses.items()}
    return Term("adversarial", weighted(losses, weights), 1.0, summands=summands, target_logits=target_logits)


def discriminator_term(
    modules: Mapping[str, nn.Module],
    level: str,
    source: Tensor,
    target: Tensor,
    gan: GanKind,
    context: Context,
) -> Term:
    """Make one discriminator's term: half its loss on source maps (0) plus half on target maps (1).

    `source`, `target`: detached maps (B, K, H, W), of any two sizes. Source: ADVENT (Vu 2019), equation 5.
    """
    name = discriminator_name(level)
    answer: Callable[[Tensor], Tensor] = modules[name]
    on_source = domain_loss(answer(source), SOURCE_DOMAIN, gan) * context.image_share["source"]
    on_target = domain_loss(answer(target), TARGET_DOMAIN, gan) * context.image_share["target"]
    return Term(name, 0.5 * on_source + 0.5 * on_target, 1.0, updates=(name,))
