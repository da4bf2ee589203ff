"""Parameter groups: every trained tensor exactly once, rates by group, state by name."""

import pytest
import torch
from torch import nn
from toys import CLASSES, SIDE, ToyNetwork, toy_parameters

from pipeline.methods.registry import build_method
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.training.optimisers import (
    build_network_optimiser,
    build_optimisers,
    load_optimiser_tensors,
    optimiser_tensors,
    set_learning_rates,
)
from pipeline.training.parameters import SgdParameters

SGD = SgdParameters(kind="sgd", lr=0.1, backbone_lr_mult=3.0, head_lr_mult=10.0)


@pytest.mark.parametrize("backbone", ["small", "mobilenet_v2", "resnet18"])
def test_every_trained_tensor_of_a_real_network_is_listed_once(backbone: str) -> None:
    levels = "multi" if backbone != "small" else "single"
    network = build_network(NetworkParameters(backbone=backbone, levels=levels), CLASSES, seed=0)
    optimiser = build_network_optimiser(network, SGD)
    listed = [id(tensor) for group in optimiser.param_groups for tensor in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(tensor) for tensor in network.parameters() if tensor.requires_grad}


def test_groups_have_their_rates_and_follow_the_schedule() -> None:
    network = ToyNetwork("multi")
    optimisers = build_optimisers(network, {}, toy_parameters(optimiser={"lr": 0.1, "backbone_lr_mult": 3.0}))
    set_learning_rates(optimisers, 0.5)
    assert [group["lr"] for group in optimisers["network"].param_groups] == pytest.approx([0.15, 0.5])
    heads = {id(tensor) for tensor in optimisers["network"].param_groups[1]["params"]}
    assert heads == {id(tensor) for head in (network.main, network.aux) for tensor in head.parameters()}


class Positioned(ToyNetwork):
    """Has a position embedding, as vision transformers do."""

    def __init__(self) -> None:
        super().__init__(batch_norm="train")
        self.pos_embed = nn.Parameter(torch.zeros(1, 2, 3))


@pytest.mark.parametrize(
    ("decays", "kept"), [("all", set()), ("no_norms", {"norm.weight", "norm.bias", "pos_embed"})]
)
def test_norms_and_positions_may_keep_their_size(decays: str, kept: set[str]) -> None:
    network = Positioned()
    rates = {"backbone_lr_mult": 1.0, "head_lr_mult": 10.0}
    wanted = toy_parameters(optimiser={"kind": "adamw", "lr": 6e-5, "decays": decays, **rates}).optimiser
    names = {id(tensor): name for name, tensor in network.named_parameters()}
    found = {
        names[id(tensor)]: (group["weight_decay"], group["base_lr"])
        for group in build_network_optimiser(network, wanted).param_groups
        for tensor in group["params"]
    }
    assert found == {
        name: (0.0 if name in kept else 0.01, pytest.approx(6e-4 if name.startswith("main") else 6e-5))
        for name in names.values()
    }


class Repeating(ToyNetwork):
    """Yields a backbone tensor twice, as the reference code's generators do."""

    def backbone_parameters(self):  # type: ignore[no-untyped-def]
        yield from super().backbone_parameters()
        yield self.first.weight


class Forgetting(ToyNetwork):
    """Forgets its heads."""

    def head_parameters(self):  # type: ignore[no-untyped-def]
        return iter(())


class Frozen(ToyNetwork):
    """Lists a tensor that is not trained."""

    def head_parameters(self):  # type: ignore[no-untyped-def]
        yield from super().head_parameters()
        yield nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Repeating, "first.weight occurs twice"), (Forgetting, "main.bias, main.weight"), (Frozen, "1 tensors")],
)
def test_a_wrong_list_of_tensors_is_refused(kind: type[ToyNetwork], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network_optimiser(kind(), SGD)


@pytest.mark.parametrize(
    ("mode", "trained"), [("frozen", False), ("batch_frozen_affine", False), ("train", True)]
)
def test_batch_norm_scale_is_trained_only_where_the_mode_says_so(mode: str, trained: bool) -> None:
    network = ToyNetwork(batch_norm=mode)
    listed = {id(t) for group in build_network_optimiser(network, SGD).param_groups for t in group["params"]}
    assert (id(network.norm.weight) in listed) is trained


def test_discriminators_have_the_published_adam() -> None:
    parameters = toy_parameters("advent")
    network = ToyNetwork("multi")
    modules = build_method("advent", parameters.objective).build_modules(network, CLASSES)
    optimisers = build_optimisers(network, modules, parameters)
    assert set(optimisers) == {"network", "discriminator_main", "discriminator_aux"}
    group = optimisers["discriminator_aux"].param_groups[0]
    assert (type(optimisers["discriminator_aux"]).__name__, group["lr"], group["betas"]) == (
        "Adam",
        1e-4,
        (0.9, 0.99),
    )
    assert group["weight_decay"] == 0


def test_frozen_modules_have_no_optimiser() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    assert set(build_optimisers(ToyNetwork(), {"teacher": frozen}, toy_parameters())) == {"network"}


@pytest.mark.parametrize("optimiser", [{"kind": "sgd"}, {"kind": "adamw"}])
def test_a_state_put_back_gives_the_same_next_step(optimiser: dict[str, str]) -> None:
    results = []
    for restored in (False, True):
        network = ToyNetwork()
        first = build_network_optimiser(network, toy_parameters(optimiser=optimiser).optimiser)
        images = torch.linspace(-1, 1, 3 * SIDE * SIDE).reshape(1, 3, SIDE, SIDE)
        for step in range(2):
            network.zero_grad()
            network(images).main.square().mean().backward()
            if step == 1 and restored:
                second = build_network_optimiser(network, toy_parameters(optimiser=optimiser).optimiser)
                tensors = optimiser_tensors(first, network)
                assert any(name.startswith("main.weight/") for name in tensors)
                load_optimiser_tensors(second, network, tensors)
                first = second
            first.step()
        results.append(network.first.weight.clone())
    assert torch.equal(*results)
