"""Keeping features near those of the network that a training starts from (DAFormer; VFM-UDA++)."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Term
from pipeline.methods.losses import labels_of, map_size
from pipeline.methods.objective import FeatureDistance
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics.feature_distance import cosine_distance, masked_distance, thing_mask

FROZEN, HEAD = "frozen", "feature_head"
"""Names of the auxiliary modules."""


class FrozenCopy(nn.Module):
    """The network as it starts, in evaluation mode.

    Its tensors are in no training state: they follow from the weights that the training starts from.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = deepcopy(network).requires_grad_(False)
        self.register_state_dict_post_hook(_forget)
        self.register_load_state_dict_post_hook(_expect_nothing)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Compute the backbone's last map (B, C, h, w)."""
        return self.network.last_map(images)


def _forget(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        del state[name]


def _expect_nothing(module: nn.Module, found: Any) -> None:
    found.missing_keys.clear()


def build_frozen(network: SegmentationNetwork, wanted: FeatureDistance | None) -> dict[str, nn.Module]:
    """Make the modules that a distance needs by name: the copy, and for the one everywhere a 1x1 convolution."""
    if wanted is None:
        return {}
    modules: dict[str, nn.Module] = {FROZEN: FrozenCopy(network)}
    if wanted.where == "everywhere":
        modules[HEAD] = nn.Conv2d(network.feature_channels, network.feature_channels, 1)
    return modules


def feature_distance(
    modules: Mapping[str, nn.Module],
    feature: Tensor,
    batch: Batch,
    domain: str,
    context: Context,
) -> Tensor:
    """Compute a domain's share of the step's distance, a float32 scalar; means run over one forward pass.

    `feature`: the network's last map (B, C, h, w) of the batch's images.
    """
    frozen = cast(FrozenCopy, modules[FROZEN]).features(batch.images)
    if HEAD in modules:
        value = cosine_distance(modules[HEAD](feature), frozen)
    else:
        mask = thing_mask(labels_of(batch, domain), context.things, map_size(feature))
        value = masked_distance(feature, frozen, mask)
    return value * context.image_share[domain]


def with_feature_distance(
    term: Term,
    modules: Mapping[str, nn.Module],
    feature: Tensor,
    batch: Batch,
    wanted: FeatureDistance | None,
    context: Context,
) -> Term:
    """Add the source's distance to its supervised term, so that both share one forward pass."""
    if wanted is None:
        return term
    value = feature_distance(modules, feature, batch, "source", context)
    summands = {"cross_entropy": term.value.detach(), **term.summands, "feature_distance": value.detach()}
    return replace(
        term, value=term.value + wanted.weight * value, updates=updated(modules), summands=summands
    )


def updated(modules: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Name the modules that learn from a distance."""
    return ("network", HEAD) if HEAD in modules else ("network",)
