"""What several methods share: forward passes, up-sampled logits, the supervised cross-entropy."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.artifacts.errors import DataError
from pipeline.methods.base import Context, DeviceBatch, Term
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.numerics.losses import cross_entropy_sum

Maps = dict[str, Tensor]
"""Maps (B, K, H, W) by level: `main`, and `aux` from a multi-level network."""


def predict(network: SegmentationNetwork, batch: DeviceBatch, domain: str) -> Output:
    """Run the network over a batch with the BatchNorm statistics of its side (labelled: the target's)."""
    with network.domain("source" if domain == "source" else "target"):
        output: Output = network(batch.images)
        return output


def levels(network: SegmentationNetwork) -> tuple[str, ...]:
    """Name the levels that a network has logits for, the main one first."""
    return ("main", "aux") if network.parameters_spec.levels == "multi" else ("main",)


def upsampled(network: SegmentationNetwork, output: Output, size: tuple[int, int]) -> Maps:
    """Resize an output's logits to `size` (height, width), float32, by level.

    A classifier's logits stay one cell: it is a segmenter with one pixel.
    """
    logits = {"main": output.main} if output.aux is None else {"main": output.main, "aux": output.aux}
    return {
        name: value.float() if network.single_pixel else network.upsample(value, size)
        for name, value in logits.items()
    }


def labels_of(batch: DeviceBatch, domain: str) -> Tensor:
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


def image_size(batch: DeviceBatch) -> tuple[int, int]:
    """Return height and width of a batch's images in pixels."""
    return map_size(batch.images)


def weighted(values: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum scalars by level, each times its weight."""
    return torch.stack([value * weights[name] for name, value in values.items()]).sum()


def segmentation_term(
    logits: Maps,
    labels: Tensor,
    aux_weight: float,
    context: Context,
    domain: str = "source",
    weight: float = 1.0,
) -> Term:
    """Make the supervised term: mean cross-entropy of the main head plus `aux_weight` times the aux head's.

    `logits`: by level, (B, K, H, W) at the labels' size. `labels`: int64 (B, H, W), 255 ignored. The mean is
    over the labelled pixels of the domain's whole step; a differentiable 0 without any.
    Source: AdaptSegNet (Tsai 2018), equations 3 and 5.
    """
    means = {
        name: context.pixel_mean(cross_entropy_sum(value, labels)[0], domain)
        for name, value in logits.items()
    }
    name = "segmentation" if domain == "source" else f"segmentation_{domain}"
    parts = {f"{name}_{level}": value.detach() for level, value in means.items()} if len(means) > 1 else {}
    return Term(name, weighted(means, {"main": 1.0, "aux": aux_weight}), weight, parts=parts)
