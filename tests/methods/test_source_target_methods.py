"""MinEnt, AdvEnt, AdaptSegNet and supervised training against the formulas, written out slowly."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from toys import CLASSES, SIDE, ToyNetwork, toy_batch, toy_learner, toy_parameters

from pipeline.artifacts.errors import DataError
from pipeline.data.batch import Batch
from pipeline.methods import adversarial
from pipeline.methods.base import Context, Term
from pipeline.methods.registry import build_method
from pipeline.networks.build import build_network
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.lovasz import lovasz_softmax
from pipeline.training.learner import Learner
from pipeline.training.step import StepRunner

CPU = torch.device("cpu")
ALL = ("supervised", "minent", "advent", "adaptseg")


class Setting:
    """A method on a toy network and one step's batches."""

    def __init__(
        self, method: str, levels: str = "multi", batch_norm: str = "frozen", **objective: Any
    ) -> None:
        self.parameters = toy_parameters(method, objective=objective)
        self.network = ToyNetwork(levels, batch_norm)
        self.network.train()
        learner = toy_learner(self.parameters, self.network, seed=0)
        self.method, self.modules = learner.method, learner.auxiliary
        self.batch: dict[str, Batch] = {
            name: toy_batch(name, 0, range(2), labelled=name != "target")
            for name in ("source", "target", "labelled")
        }
        self.runner = StepRunner(learner, CPU)

    def run(self, *domains: str) -> dict[str, float]:
        """The values of all terms and parts of one step."""
        batch: Any = {name: self.batch[name] for name in domains or self.method.domains}
        return {name: value.item() for name, value in self.runner.run(0, batch).values.items()}

    def terms(self, *domains: str) -> Iterator[Term]:
        """The terms as the method yields them."""
        device = {
            name: replace(
                part,
                images=normalise(part.images, self.network.profile),
                labels=None if part.labels is None else part.labels.long(),
            )
            for name, part in self.batch.items()
            if name in domains
        }
        valid = {name: (p.labels != 255).sum().float() for name, p in device.items() if p.labels is not None}
        context = Context(0, valid, dict.fromkeys(device, 1.0), CLASSES)
        return self.method.terms({"network": self.network, **self.modules}, device, context)

    def logits(self, domain: str) -> dict[str, np.ndarray]:
        """Up-sampled logits in float64, by level."""
        with torch.no_grad():
            output = self.network(normalise(self.batch[domain].images, self.network.profile))
        maps = {"main": output.main} | ({} if output.aux is None else {"aux": output.aux})
        return {name: self.network.upsample(z, (SIDE, SIDE)).double().numpy() for name, z in maps.items()}

    def answers(self, level: str, maps: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            answer: Tensor = self.modules[f"discriminator_{level}"](torch.from_numpy(maps).float())
        return answer.double().numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def information(logits: np.ndarray) -> np.ndarray:
    """The papers' form, with its epsilon, in float64."""
    p = softmax(logits)
    return -p * np.log2(p + 1e-30) / np.log2(CLASSES)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    log_p = np.log(softmax(logits))
    losses = [
        -log_p[n, labels[n, y, x], y, x]
        for n in range(len(labels))
        for y in range(SIDE)
        for x in range(SIDE)
        if labels[n, y, x] != 255
    ]
    return float(np.mean(losses))


def bce(answers: np.ndarray, constant: int) -> float:
    probability = 1 / (1 + np.exp(-answers))
    return float(np.mean(-constant * np.log(probability) - (1 - constant) * np.log(1 - probability)))


def squares(answers: np.ndarray, constant: int) -> float:
    return float(np.mean((answers - constant) ** 2))


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("levels", ["single", "multi"])
def test_the_supervised_term_is_the_mean_cross_entropy(method: str, levels: str) -> None:
    setting = Setting(method, levels)
    labels = setting.batch["source"].labels
    assert labels is not None
    means = {name: cross_entropy(z, labels.numpy()) for name, z in setting.logits("source").items()}
    expected = means["main"] + 0.1 * means.get("aux", 0.0)
    assert setting.run()["segmentation"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("levels", ["single", "multi"])
def test_the_entropy_term_is_the_mean_of_the_papers_formula(levels: str) -> None:
    setting = Setting("minent", levels, entropy_weight=0.5)
    values = setting.run()
    means = {name: information(z).sum(axis=1).mean() for name, z in setting.logits("target").items()}
    assert values["entropy"] == pytest.approx(0.5 * means["main"] + 2e-4 * means.get("aux", 0.0), rel=1e-6)
    assert values["entropy_main"] == pytest.approx(means["main"], rel=1e-5)
    assert ("entropy_aux" in values) is (levels == "multi")


@pytest.mark.parametrize("levels", ["single", "multi"])
@pytest.mark.parametrize(
    ("method", "objective", "map_of", "loss"),
    [
        ("advent", {}, information, bce),
        ("adaptseg", {}, softmax, bce),
        ("adaptseg", {"gan": "ls"}, softmax, squares),
    ],
)
def test_adversarial_terms_take_source_for_0_and_target_for_1(
    levels: str, method: str, objective: dict[str, str], map_of: Any, loss: Any
) -> None:
    setting = Setting(method, levels, adversarial_weight=0.5, adversarial_aux_weight=0.125, **objective)
    values = setting.run()
    adversarial_parts = {}
    for level, target in setting.logits("target").items():
        on_source = setting.answers(level, map_of(setting.logits("source")[level]))
        on_target = setting.answers(level, map_of(target))
        adversarial_parts[level] = loss(on_target, 0)
        expected = 0.5 * loss(on_source, 0) + 0.5 * loss(on_target, 1)
        assert values[f"discriminator_{level}"] == pytest.approx(expected, rel=1e-5)
        assert abs(loss(on_target, 0) - loss(on_target, 1)) > 1e-3  # the constants can be told apart
    expected = 0.5 * adversarial_parts["main"] + 0.125 * adversarial_parts.get("aux", 0.0)
    assert values["adversarial"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("method", "levels", "expected"),
    [
        ("supervised", "multi", [("segmentation", "network")]),
        ("minent", "single", [("segmentation", "network"), ("entropy", "network")]),
        (
            "advent",
            "single",
            [("segmentation", "network"), ("adversarial", "network"), ("discriminator_main",) * 2],
        ),
        (
            "adaptseg",
            "multi",
            [
                ("segmentation", "network"),
                ("adversarial", "network"),
                ("discriminator_main",) * 2,
                ("discriminator_aux",) * 2,
            ],
        ),
    ],
)
def test_terms_come_in_the_published_order_and_update_one_module_each(
    method: str, levels: str, expected: list[tuple[str, str]]
) -> None:
    setting = Setting(method, levels)
    found = []
    for term in setting.terms("source", "target"):
        found.append((term.name, *term.updates))
        torch.autograd.backward(term.value, inputs=setting.runner.trained[term.updates[0]])
    assert found == expected


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.grad.clone() for name, t in module.named_parameters() if t.grad is not None}


@pytest.mark.parametrize("method", ["advent", "adaptseg"])
def test_a_step_updates_network_and_discriminators_each_by_its_own_terms(method: str) -> None:
    setting = Setting(method, "multi", adversarial_weight=1.0, adversarial_aux_weight=1.0)
    setting.run()
    found = {name: gradients(module) for name, module in setting.runner.modules.items()}
    terms = {term.name: term.value for term in setting.terms("source", "target")}
    expected = {
        "network": terms["segmentation"] + terms["adversarial"],
        "discriminator_main": terms["discriminator_main"],
        "discriminator_aux": terms["discriminator_aux"],
    }
    for name, value in expected.items():
        tensors = {key: t for key, t in setting.runner.modules[name].named_parameters() if t.requires_grad}
        wanted = torch.autograd.grad(value, list(tensors.values()), retain_graph=True)
        torch.testing.assert_close(found[name], dict(zip(tensors, wanted, strict=True)))


@pytest.mark.parametrize("method", ALL)
def test_labels_that_are_all_ignored_give_a_differentiable_zero(method: str) -> None:
    setting = Setting(method)
    setting.batch["source"].labels.fill_(255)
    values = setting.run()
    assert values["segmentation"] == 0.0
    for module in setting.runner.modules.values():
        assert all(t.isfinite().all() for t in gradients(module).values())
    assert set(gradients(setting.network)) == {
        name for name, t in setting.network.named_parameters() if t.requires_grad
    }


@pytest.mark.parametrize("method", ["minent", "advent", "adaptseg"])
def test_an_absent_target_leaves_the_supervised_term(method: str) -> None:
    values = Setting(method, "single").run("source")
    assert set(values) == {"segmentation"}
    assert values["segmentation"] == pytest.approx(Setting("supervised", "single").run()["segmentation"])


def test_supervised_never_forwards_the_target() -> None:
    setting = Setting("supervised", batch_norm="batch_frozen_affine")
    assert setting.method.domains == ("source",)
    forwards: list[int] = []
    setting.network.register_forward_hook(lambda *_: forwards.append(1))
    setting.run("source", "target", "labelled")
    assert len(forwards) == 1


def test_labelled_target_images_add_their_weighted_mean() -> None:
    setting = Setting("supervised", "single", labelled_weight=0.5)
    assert setting.method.domains == ("source", "labelled")
    together, labels = setting.run(), setting.batch["labelled"].labels
    assert labels is not None
    mean = cross_entropy(setting.logits("labelled")["main"], labels.numpy())
    assert together["segmentation_labelled"] == pytest.approx(mean, rel=1e-5)
    both = gradients(setting.network)["main.weight"]
    setting.run("source")
    source = gradients(setting.network)["main.weight"]
    setting.run("labelled")
    torch.testing.assert_close(both, source + gradients(setting.network)["main.weight"])


@pytest.mark.parametrize("method", ALL)
def test_lovasz_is_added_to_the_source_alone_on_the_networks_grid(method: str) -> None:
    plain = Setting(method, "single").run()["segmentation"]
    setting = Setting(method, "single", lovasz_weight=3.0)
    values = setting.run()
    with torch.no_grad():
        logits = setting.network(normalise(setting.batch["source"].images, setting.network.profile)).main
    labels = setting.batch["source"].labels
    assert labels is not None
    side, cells = logits.shape[-1], [index * SIDE // logits.shape[-1] for index in range(logits.shape[-1])]
    expected = lovasz_softmax(logits, labels[:, cells][:, :, cells])
    assert side < SIDE and values["lovasz"] == pytest.approx(expected.item(), rel=1e-5)
    assert values["cross_entropy"] == pytest.approx(plain, rel=1e-5)
    assert values["segmentation"] == pytest.approx(plain + 3.0 * expected.item(), rel=1e-5)


def test_lovasz_images_without_lovasz_are_refused() -> None:
    with pytest.raises(ValidationError, match="lovasz_images: not used with `lovasz_weight: 0`"):
        toy_parameters("advent", objective={"lovasz_images": 4})


def test_a_domain_without_labels_is_named() -> None:
    setting = Setting("advent")
    setting.batch["source"] = replace(setting.batch["source"], labels=None)
    with pytest.raises(DataError, match="domain source: source-0-0 has no label"):
        setting.run()


def test_each_map_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    setting, calls = Setting("advent", "multi"), []
    assert isinstance(setting.method, adversarial.Adversarial)
    original = setting.method.map_of
    monkeypatch.setattr(setting.method, "map_of", lambda z: calls.append(z.requires_grad) or original(z))
    setting.run()
    assert len(calls) == 4  # two domains, two levels


def test_maps_of_the_discriminators_terms_carry_no_gradient() -> None:
    setting = Setting("advent", "single")
    *_, last = setting.terms("source", "target")
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(last.value, [setting.network.main.weight])


@pytest.mark.parametrize("method", ["minent", "advent", "adaptseg"])
def test_a_classifier_is_a_segmenter_with_one_pixel(method: str) -> None:
    network = build_network(NetworkParameters(backbone="lenet", profile="unit"), 10, seed=0)
    parameters = toy_parameters(method)
    chosen = build_method(method, parameters.objective)
    learner = Learner(network, chosen.build_modules(network, 10), chosen, parameters, seed=0)
    images = torch.arange(2 * 3 * 28 * 28).remainder(251).to(torch.uint8).reshape(2, 3, 28, 28)
    batch: Any = {
        "source": Batch(images, torch.tensor([[[3]], [[7]]], dtype=torch.uint8), ("a", "b")),
        "target": Batch(images.flip(0), None, ("c", "d")),
    }
    outcome = StepRunner(learner, CPU).run(0, batch, count_classes=True)
    assert outcome.values["segmentation"].item() > 0
    assert outcome.class_counts is not None and outcome.class_counts.sum().item() == 2


GOLDEN: dict[str, dict[str, float]] = {
    "supervised": {},
    "minent": {"entropy": 0.00118593, "entropy_main": 0.990449, "entropy_aux": 0.977421},
    "advent": {
        "adversarial": 0.000847542,
        "adversarial_main": 0.714149,
        "adversarial_aux": 0.666969,
        "discriminator_main": 0.693363,
        "discriminator_aux": 0.693499,
    },
    "adaptseg": {
        "adversarial": 0.000847629,
        "adversarial_main": 0.714242,
        "adversarial_aux": 0.666933,
        "discriminator_main": 0.693365,
        "discriminator_aux": 0.6935,
    },
}
SEGMENTATION = {"segmentation": 1.54332, "segmentation_main": 1.40264, "segmentation_aux": 1.4068}


@pytest.mark.parametrize("method", ALL)
def test_golden_values_with_the_default_weights(method: str) -> None:
    assert Setting(method).run() == pytest.approx(SEGMENTATION | GOLDEN[method], rel=1e-4)
