"""Optimisers: one per trained module, every tensor exactly once, and their state by tensor name."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from pipeline.networks.base import SegmentationNetwork
from pipeline.training.parameters import AdamwParameters, SgdParameters, TrainParameters

SGD_MOMENTUM, SGD_DECAY = 0.9, 5e-4
"""Source: the released codes of AdaptSegNet, ADVENT, IntraDA, CRST and PLCA; biases decay too, no Nesterov."""
ADAMW_BETAS, ADAMW_DECAY = (0.9, 0.999), 0.01
"""Source: Loshchilov and Hutter 2019."""
AUXILIARY_LR, AUXILIARY_BETAS = 1e-4, (0.9, 0.99)
"""Of discriminators; they follow the stage's schedule. Source: AdaptSegNet, released code."""
FUSED = ("cpu", "cuda")
"""Devices on which a whole step of an optimiser is one kernel."""


def trained_tensors(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return a module's trainable tensors by name, each once."""
    return {name: tensor for name, tensor in module.named_parameters() if tensor.requires_grad}


def _check_once(network: SegmentationNetwork, groups: Iterable[list[nn.Parameter]]) -> None:
    """Every trainable tensor must be in exactly one group, once.

    A tensor that is listed three times is stepped three times (speedinghzl/Pytorch-Deeplab#18).
    """
    names = {id(tensor): name for name, tensor in trained_tensors(network).items()}
    seen: set[int] = set()
    for tensor in (tensor for group in groups for tensor in group):
        if id(tensor) in seen:
            raise ValueError(
                f"tensor {names.get(id(tensor), '?')} occurs twice in the optimiser of the network"
            )
        seen.add(id(tensor))
    if missing := sorted(name for key, name in names.items() if key not in seen):
        raise ValueError(f"trainable tensors in no parameter group: {', '.join(missing)}")
    if extra := len(seen - set(names)):
        raise ValueError(f"{extra} tensors in the parameter groups are not trainable tensors of the network")


def build_network_optimiser(
    network: SegmentationNetwork, parameters: SgdParameters | AdamwParameters
) -> Optimizer:
    """Make the network's optimiser with the groups of the backbone and that of the heads.

    A group's `base_lr` is its learning rate at step 0. Raises ValueError for a tensor that is listed twice or
    not at all, or for a network without trainable tensors.
    """
    factors = [(parameters.backbone_lr_mult * own, tensors) for own, tensors in network.backbone_groups()]
    factors.append((parameters.head_lr_mult, list(network.head_parameters())))
    _check_once(network, [tensors for _, tensors in factors])
    groups = [
        {"params": tensors, "lr": parameters.lr * factor, "base_lr": parameters.lr * factor}
        for factor, tensors in factors
        if tensors
    ]
    if isinstance(parameters, AdamwParameters) and parameters.decays == "no_norms":
        groups = _norms_apart(groups, _norms_and_positions(network))
    form = _form(tensor for _, tensors in factors for tensor in tensors)
    if isinstance(parameters, SgdParameters):
        return SGD(groups, momentum=SGD_MOMENTUM, weight_decay=SGD_DECAY, **form)
    return AdamW(groups, betas=ADAMW_BETAS, weight_decay=ADAMW_DECAY, **form)


def _norms_apart(groups: list[dict[str, Any]], apart: set[int]) -> list[dict[str, Any]]:
    """Cut each group in two: tensors that decay, and those of the ids `apart`, which do not."""
    cut = []
    for group in groups:
        for chosen, more in ((False, {}), (True, {"weight_decay": 0.0})):
            tensors = [tensor for tensor in group["params"] if (id(tensor) in apart) is chosen]
            cut += [{**group, **more, "params": tensors}] if tensors else []
    return cut


def _norms_and_positions(network: nn.Module) -> set[int]:
    """Ids of the tensors of normalisation layers and of position embeddings. Source: DAFormer, released settings."""
    norms = [module for module in network.modules() if "Norm" in type(module).__name__]
    found = {id(tensor) for norm in norms for tensor in norm.parameters(recurse=False)}
    return found | {id(tensor) for name, tensor in network.named_parameters() if "pos_embed" in name}


def _form(tensors: Iterable[Tensor]) -> dict[str, bool]:
    """One kernel for all tensors where torch has one for their device, else few for many."""
    return {"fused" if all(tensor.device.type in FUSED for tensor in tensors) else "foreach": True}


def build_optimisers(
    network: SegmentationNetwork, modules: Mapping[str, nn.Module], parameters: TrainParameters
) -> dict[str, Optimizer]:
    """Make one optimiser for the network and one per auxiliary module that has trainable tensors."""
    optimisers = {"network": build_network_optimiser(network, parameters.optimiser)}
    for name, module in modules.items():
        if tensors := list(trained_tensors(module).values()):
            groups = [{"params": tensors, "lr": AUXILIARY_LR, "base_lr": AUXILIARY_LR}]
            optimisers[name] = Adam(groups, betas=AUXILIARY_BETAS, **_form(tensors))
    return optimisers


def set_learning_rates(optimisers: Mapping[str, Optimizer], factor: float) -> None:
    """Set every group's learning rate to `factor` times its rate at step 0."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor


def optimiser_tensors(optimiser: Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state by `<tensor name>/<quantity>`, as in `main.weight/momentum_buffer`."""
    return {
        f"{name}/{quantity}": value
        for name, tensor in trained_tensors(module).items()
        for quantity, value in optimiser.state.get(tensor, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimiser_tensors(optimiser: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a state from `optimiser_tensors` back; KeyError for a name that the module does not have."""
    trained = trained_tensors(module)
    optimiser.state.clear()
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        parameter = trained[name]
        # In the tensor's own order of memory; scalars count steps, and lie beside it as well.
        like = parameter.data if value.ndim else value.to(parameter.device)
        optimiser.state[parameter][quantity] = torch.empty_like(like).copy_(value)
