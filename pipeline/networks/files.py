"""Networks on disk: `<name>.safetensors` with the tensors, `<name>.json` beside it with everything else.

    save_network(folder / "step-600.safetensors", network, {"step": 600})
    network, meta = load_network(folder / "step-600.safetensors")

The JSON holds the architecture, the class count, the input profile, the caller's `meta` and the tensors'
SHA-256, so the two files cannot be mixed up. Nothing is unpickled.
"""

import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.files import sha256_file, write_bytes
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.build import build_network, construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.records import (
    NetworkRecord,
    check_tensors,
    read_record,
    record_path,
    repair,
    write_record,
)
from pipeline.networks.weights import LoadReport, backbone_tensors, copy_tensors, report
from pipeline.numerics.randomness import seeded_weights


def save_network(path: Path, network: SegmentationNetwork, meta: dict[str, Any]) -> None:
    """Write a network to `path` (`.safetensors`) and its JSON; `meta` is any JSON object.

    Either file is whole or absent; a pair that was interrupted half-way is refused by `load_network`.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: a network's file name ends in .safetensors")
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    # Not `save_file`: it writes beside first, under a name of its own, which a kill would leave in the artifact.
    write_bytes(path, safetensors.torch.save(tensors))
    record = NetworkRecord(
        network=_portable(network.parameters_spec),
        num_classes=network.num_classes,
        profile=network.profile,
        precision=network.precision,
        weights_license=network.weights_license or None,
        tensors_sha256=sha256_file(path),
        meta=meta,
    )
    write_record(path, record)


def _portable(parameters: NetworkParameters) -> NetworkParameters:
    """Keep only the name of the initial weights' file: its folder is another one elsewhere."""
    weights = parameters.weights
    if weights is None or weights.source.startswith(("http://", "https://")):
        return parameters
    named = weights.model_copy(update={"source": os.path.basename(weights.source)})  # noqa: PTH119 - may hold ${VARS}
    return parameters.model_copy(update={"weights": named})


def load_network(path: Path) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """Read a network (on the CPU, in evaluation mode) and its `meta`.

    Raises ArtifactError where a file is missing, damaged, of another pair, or does not fit the architecture.
    """
    record = read_record(path)
    tensors = _checked_tensors(path, record)
    # Built without memory first: no random numbers are drawn, and no tensor is filled twice.
    with torch.device("meta"):
        network = construct(record.network, record.num_classes)
    if network.profile != record.profile:
        raise ArtifactError(
            f"{record_path(path)}: its input profile {record.profile.name} has other numbers than that of "
            f"{record.network.backbone} in the installed timm; install the version that it was trained with"
        )
    wanted = {name: (tuple(value.shape), value.dtype) for name, value in network.state_dict().items()}
    found = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ArtifactError(
            f"{path}: {len(wrong)} tensors do not fit {record.network.backbone} with "
            f"{record.num_classes} classes, the first: {', '.join(wrong[:8])}; {repair()}"
        )
    if any(buffer.is_meta for name, buffer in network.named_buffers() if name not in tensors):
        with seeded_weights(0):  # a constant of the architecture that no file holds
            network = construct(record.network, record.num_classes)
    network.load_state_dict(tensors, strict=True, assign=True)
    network.precision = record.precision
    network.weights_license = record.weights_license or ""
    return network.eval(), record.meta


def _checked_tensors(path: Path, record: NetworkRecord) -> dict[str, Tensor]:
    check_tensors(path, record)
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"{path} is damaged ({error}); {repair()}") from error


def build_from(
    parent: Path, parameters: NetworkParameters, num_classes: int, seed: int
) -> tuple[SegmentationNetwork, LoadReport]:
    """Build a network whose backbone, and heads where they fit, start from the saved one at `parent`.

    Its own `weights` file is not read. Raises ConfigError where the two must not be mixed.
    """
    network = build_network(parameters.model_copy(update={"weights": None}), num_classes, seed)
    network.parameters_spec = parameters
    return network, initialise_from(network, parent)


def initialise_from(network: SegmentationNetwork, parent: Path) -> LoadReport:
    """Copy a saved network's tensors: the whole backbone, and each head whose role and all shapes agree.

    Other heads keep their initial values and are named in the report; none is copied in part. Raises
    ConfigError where backbone, input profile or ASPP setting differ.
    """
    saved, _ = load_network(parent)
    ours, theirs = network.parameters_spec, saved.parameters_spec
    for name in ("backbone", "profile", "aspp"):
        if getattr(ours, name) != getattr(theirs, name):
            raise ConfigError(
                f"{parent} was trained with {name}: {getattr(theirs, name)}, this network has "
                f"{getattr(ours, name)}; weights of one must not be used under the other: choose "
                "the same network for both stages"
            )
    target = backbone_tensors(network)
    source = {name: value for name, value in backbone_tensors(saved).items() if name in target}
    copy_tensors(target, source)
    network.weights_license = saved.weights_license
    outcomes = [_copy_head(role, network, saved, parent) for role in network.head_roles]
    return report(len(source), len(target), [outcome for outcome in outcomes if outcome])


def _copy_head(
    role: str, network: SegmentationNetwork, saved: SegmentationNetwork, parent: Path
) -> str | None:
    """Copy one head; where it does not fit, leave it and say why."""
    if role not in saved.head_roles:
        return f"{parent.name} has no {role} head: ours starts at random"
    ours = network.get_submodule(network.head_roles[role]).state_dict()
    theirs = saved.get_submodule(saved.head_roles[role]).state_dict()
    if _shapes(ours) != _shapes(theirs):
        return (
            f"the {role} head of {parent.name} (for {saved.num_classes} classes) has other shapes than ours "
            f"(for {network.num_classes} classes): ours starts at random"
        )
    if network.parameters_spec.dilations != saved.parameters_spec.dilations:
        return (
            f"the {role} head of {parent.name} has dilations {saved.parameters_spec.dilations}, ours "
            f"{network.parameters_spec.dilations}: ours starts at random"
        )
    copy_tensors(ours, theirs)
    return None


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}
