"""Loading a backbone's initial weights by declared layout: at least 95 % of its tensors load, or it stops.

| layout | names in the file |
|---|---|
| `torchvision` | torchvision's; `fc.*` and `classifier.*` are skipped |
| `caffe_resnet` | `Scale.conv1.weight` ...: the first component is dropped, `Scale.layer5.*` is skipped |
| `timm`, `efficientnet_lite` | see `timm_weights.py`; what timm's model has without its classifier alone is read |
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.parameters import WeightsParameters
from pipeline.networks.timm_weights import efficientnet_lite_tensors, timm_tensors
from pipeline.networks.weight_files import find_weights, license_of, read_tensors

NEEDED_SHARE = 0.95
LISTED = 20
_UNCOUNTED = "num_batches_tracked"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: counts of tensors, and messages about all that was not, but a classifier's heads."""

    loaded: int
    expected: int
    messages: tuple[str, ...]


@dataclass(frozen=True)
class _Match:
    loadable: dict[str, Tensor]
    missing: list[str]
    mismatched: list[str]
    unexpected: list[str]


def load_backbone(network: SegmentationNetwork, weights: WeightsParameters) -> LoadReport:
    """Copy the weights into the network's backbone; heads keep their values.

    Raises ConfigError on another input profile, a wrong or unreadable file, or fewer than 95 % of tensors.
    """
    if weights.profile != network.profile.name:
        raise ConfigError(
            f"weights {weights.source} were trained with input profile {weights.profile}, the network reads "
            f"{network.profile.name}; choose weights of that profile or change the network's"
        )
    path = find_weights(weights, network.parameters_spec.backbone)
    renamed, heads = _renamed(read_tensors(path), weights.layout, network)
    expected = backbone_tensors(network)
    match = _match(expected, renamed)
    counted = [name for name in expected if not name.endswith(_UNCOUNTED)]
    loaded = sum(name in match.loadable for name in counted)
    details = _details(match)
    if loaded < NEEDED_SHARE * len(counted):
        raise ConfigError(
            f"{path}: only {loaded} of {len(counted)} backbone tensors fit "
            f"{network.parameters_spec.backbone} with layout {weights.layout}; at least 95 % must. "
            + " ".join(details)
        )
    copy_tensors(expected, match.loadable)
    network.weights_license = license_of(weights, network.parameters_spec.backbone)
    if heads:  # as in every file of a classifier
        _log.info("%s: heads in the file, not loaded: %s.", path.name, _listed(heads))
    return report(loaded, len(counted), [f"{path.name}: {detail}" for detail in details])


def backbone_tensors(network: SegmentationNetwork) -> dict[str, Tensor]:
    """The backbone's part of the state dict, sharing memory with the network."""
    return {name: value for name, value in network.state_dict().items() if not network.belongs_to_head(name)}


def copy_tensors(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into those of the same name."""
    with torch.no_grad():
        for name, value in tensors.items():
            into[name].copy_(value)


def report(loaded: int, expected: int, messages: list[str]) -> LoadReport:
    """Make the report and put its messages into the log as warnings."""
    for message in messages:
        _log.warning(message)
    return LoadReport(loaded, expected, tuple(messages))


def _renamed(
    tensors: Mapping[str, Tensor], layout: str, network: SegmentationNetwork
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under the network's names, and the keys of classifiers and heads that are left out."""
    if layout in _OF_TIMM:
        return _timms(_OF_TIMM[layout](tensors, network.get_submodule("backbone.model")), network)
    renamed, skipped = {}, []
    for key, value in tensors.items():
        if layout == "torchvision":
            name, head = network.backbone_prefix + key, key.startswith(("fc.", "classifier."))
        else:
            name = key.partition(".")[2]
            head = name.startswith("layer5.")
        if head:
            skipped.append(key)
        else:
            renamed[name] = value
    return renamed, skipped


_TIMMS_HEADS = {
    *("head", "head_dist", "fc", "classifier", "pre_logits", "norm", "fc_norm"),
    *("conv_head", "bn2", "final_conv", "final_layer", "downsamp_modules"),
}
"""First words of what timm's classifiers have behind their last map."""

_OF_TIMM = {"timm": timm_tensors, "efficientnet_lite": efficientnet_lite_tensors}


def _timms(
    tensors: Mapping[str, Tensor], network: SegmentationNetwork
) -> tuple[dict[str, Tensor], list[str]]:
    """All tensors but those of heads that the model has no more, and their keys; the mask token under our name."""
    prefix = f"{network.backbone_prefix}model."
    mask = f"{network.backbone_prefix}mask_token"
    parts = {
        name.removeprefix(prefix).partition(".")[0]
        for name in backbone_tensors(network)
        if name.startswith(prefix)
    }
    heads = [key for key in tensors if (part := key.partition(".")[0]) in _TIMMS_HEADS and part not in parts]
    kept = {prefix + key: value for key, value in tensors.items() if key not in heads}
    if mask in backbone_tensors(network) and "mask_token" in tensors:
        kept[mask] = kept.pop(f"{prefix}mask_token")
    return kept, heads


def _match(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> _Match:
    loadable = {name: value for name, value in found.items() if _fits(expected.get(name), value)}
    return _Match(
        loadable,
        missing=[name for name in expected if name not in found and not name.endswith(_UNCOUNTED)],
        mismatched=[
            f"{name} {tuple(found[name].shape)} instead of {tuple(value.shape)}"
            for name, value in expected.items()
            if name in found and name not in loadable
        ],
        unexpected=[name for name in found if name not in expected],
    )


def _fits(expected: Tensor | None, found: Tensor) -> bool:
    return expected is not None and expected.shape == found.shape


def _details(match: _Match) -> list[str]:
    kinds = {"missing": match.missing, "of another shape": match.mismatched, "unexpected": match.unexpected}
    return [f"{kind} ({len(names)}): {_listed(names)}." for kind, names in kinds.items() if names]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
