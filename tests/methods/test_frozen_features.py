"""Keeping features near the start: the terms by hand, who learns, what is saved, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_mean_teacher import PLAIN, SEED, STEP
from toys import CLASSES, ToyNetwork, toy_batch, toy_parameters

from pipeline.artifacts.errors import ConfigError
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.methods.frozen_features import FROZEN, HEAD, FrozenCopy
from pipeline.methods.registry import build_method
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.feature_distance import cosine_distance, masked_distance, thing_mask
from pipeline.stages.requirements import Facts, objective_fits
from pipeline.training.learner import Learner
from pipeline.training.step import StepRunner

THINGS = {"where": "things", "weight": 0.5}
EVERYWHERE = {"where": "everywhere", "weight": 0.5}


def setting(method: str, where: dict[str, Any], **values: Any) -> Learner:
    """A learner whose network has moved away from its start."""
    own = PLAIN if method == "mean_teacher" else {}
    parameters = toy_parameters(method, objective={**own, "feature_distance": where, **values})
    network, made = ToyNetwork(batch_norm="train"), build_method(method, parameters.objective)
    torch.manual_seed(0)
    learner = Learner(network, made.build_modules(network, CLASSES), made, parameters, SEED, (), (2,))
    with torch.no_grad():
        network.second.weight.mul_(1.5)
    for module in learner.modules.values():
        module.train()
    return learner


def batches() -> dict[str, Any]:
    return {name: toy_batch(name, 0, range(2), labelled=name == "source") for name in ("source", "target")}


def step(learner: Learner) -> dict[str, float]:
    chosen = {name: one for name, one in batches().items() if name in learner.method.domains}
    values = StepRunner(learner, torch.device("cpu")).run(STEP, chosen).values
    return {name: value.item() for name, value in values.items()}


def features(learner: Learner, domain: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's map and the start's, which uses its running statistics."""
    network = learner.network
    images = normalise(batches()[domain].images, network.profile)
    start = ToyNetwork(batch_norm="train").eval()
    return network(images).feature.detach(), start(images).feature.detach()


@pytest.mark.parametrize("method", ["supervised", "mean_teacher"])
def test_the_distance_on_things_joins_the_source_term(method: str) -> None:
    learner = setting(method, THINGS)
    feature, frozen = features(learner, "source")
    mask = thing_mask(batches()["source"].labels.long(), [2], feature.shape[-2:])
    assert 0 < mask.sum() < mask.numel()
    expected = masked_distance(feature, frozen, mask).item()
    found = step(learner)
    assert found["feature_distance"] == pytest.approx(expected, rel=1e-5)
    assert found["segmentation"] == pytest.approx(found["cross_entropy"] + 0.5 * expected, rel=1e-5)


def test_the_distance_everywhere_is_of_both_domains_behind_a_convolution_that_learns() -> None:
    learner = setting("mean_teacher", EVERYWHERE)
    head = learner.auxiliary[HEAD]
    for domain, name in (("source", "feature_distance"), ("target", "feature_distance_target")):
        feature, frozen = features(learner, domain)
        expected = cosine_distance(head(feature), frozen).item()
        assert step(learner)[name] == pytest.approx(expected, rel=1e-5)
    assert all(tensor.grad is not None for tensor in head.parameters())
    assert all(tensor.grad is None for tensor in learner.auxiliary[FROZEN].parameters())


def test_a_source_without_things_has_no_distance_and_no_nan() -> None:
    learner = replace(setting("supervised", THINGS), things=(CLASSES - 1,))
    source = batches()["source"]
    labels = torch.zeros_like(source.labels)
    values = (
        StepRunner(learner, torch.device("cpu")).run(0, {"source": replace(source, labels=labels)}).values
    )
    assert values["feature_distance"].item() == 0.0
    assert all(bool(tensor.grad.isfinite().all()) for tensor in learner.network.parameters())


def test_the_copy_stays_as_it_is_and_is_in_no_state() -> None:
    network = ToyNetwork(batch_norm="train", dropout=0.9)
    copy = FrozenCopy(network).train()
    images = torch.rand(2, 3, 16, 16)
    before = copy.features(images)
    with torch.no_grad():
        network.second.weight.add_(1.0)
    assert torch.equal(copy.features(images), before)
    assert dict(copy.state_dict()) == {}
    copy.load_state_dict({}, strict=True)


@pytest.mark.parametrize(
    ("where", "things", "untrained", "message"),
    [
        (THINGS, (), False, "names none; add `things"),
        (THINGS, ("b",), True, "keep features near random ones"),
        (EVERYWHERE, (), True, "keep features near random ones"),
        (THINGS, ("b",), False, None),
        (EVERYWHERE, (), False, None),
    ],
)
def test_what_a_distance_needs(where: Any, things: Any, untrained: bool, message: str | None) -> None:
    classes = [{"name": "a", "color": [0, 0, 0]}, {"name": "b", "color": [1, 1, 1]}]
    taxonomy = Taxonomy.model_validate({"name": "own", "classes": classes, "things": things})
    network = NetworkParameters(backbone="small")
    facts = Facts("here", taxonomy, network, lambda name: (), untrained=untrained)
    parameters = toy_parameters("supervised", objective={"feature_distance": where})
    if message is None:
        objective_fits(parameters, facts)
    else:
        with pytest.raises(ConfigError, match=message):
            objective_fits(parameters, facts)
