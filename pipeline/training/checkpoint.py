"""What a training state holds, section by section, and how each section is put back.

The sections are the network, the auxiliary modules (discriminators, teachers), the optimisers and the table of
metrics. Random numbers, sample order and learning rates are functions of the seed and the step, which the
state store keeps itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.training.metrics import MetricsTable
from pipeline.training.optimisers import load_optimiser_tensors, optimiser_tensors


@dataclass(frozen=True)
class Stateful:
    """The objects that a training state is made of; `modules` holds `network` and the auxiliary ones."""

    modules: Mapping[str, nn.Module]
    optimisers: Mapping[str, Optimizer]
    metrics: MetricsTable


@dataclass(frozen=True)
class Section:
    """`collect` gives a section's tensors by name; `restore` puts them back, given the state's meta data."""

    collect: Callable[[Stateful], dict[str, Tensor]]
    restore: Callable[[Stateful, Mapping[str, Tensor], Mapping[str, Any]], None]


def _collect_network(objects: Stateful) -> dict[str, Tensor]:
    return dict(objects.modules["network"].state_dict())


def _restore_network(objects: Stateful, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    objects.modules["network"].load_state_dict(dict(tensors), strict=True)


def _collect_modules(objects: Stateful) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": tensor
        for name, module in objects.modules.items()
        if name != "network"
        for key, tensor in module.state_dict().items()
    }


def _restore_modules(objects: Stateful, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    for name, module in objects.modules.items():
        if name != "network":
            module.load_state_dict(_below(tensors, name), strict=True)


def _collect_optimisers(objects: Stateful) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": tensor
        for name, optimiser in objects.optimisers.items()
        for key, tensor in optimiser_tensors(optimiser, objects.modules[name]).items()
    }


def _restore_optimisers(objects: Stateful, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    for name, optimiser in objects.optimisers.items():
        load_optimiser_tensors(optimiser, objects.modules[name], _below(tensors, name))


def _collect_metrics(objects: Stateful) -> dict[str, Tensor]:
    return {"rows": objects.metrics.tensor()}


def _restore_metrics(objects: Stateful, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    objects.metrics.restore(meta["columns"], tensors["rows"])


SECTIONS: dict[str, Section] = {
    "network": Section(_collect_network, _restore_network),
    "modules": Section(_collect_modules, _restore_modules),
    "optimisers": Section(_collect_optimisers, _restore_optimisers),
    "metrics": Section(_collect_metrics, _restore_metrics),
}


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def collect(objects: Stateful) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Gather the state: tensors by `<section>/<name>` on their devices, not copied, and meta data for JSON."""
    tensors = {
        f"{section}/{key}": tensor.detach()
        for section, functions in SECTIONS.items()
        for key, tensor in functions.collect(objects).items()
    }
    return tensors, {"columns": objects.metrics.columns}


def restore(objects: Stateful, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Put a state back that `collect` made, section by section."""
    for section, functions in SECTIONS.items():
        functions.restore(objects, _below(tensors, section), meta)
