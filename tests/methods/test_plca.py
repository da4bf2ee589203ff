"""PLCA's objective: its summands, switches, order of passes and independence of micro-batches."""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from pipeline.data.batch import Batch
from pipeline.methods.base import Context
from pipeline.methods.parameters import PlcaParameters
from pipeline.methods.plca import Plca
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.aggregation import aggregate_cosine, aggregate_kl
from pipeline.numerics.association import cycle_association, pooled_mean
from pipeline.numerics.label_grid import labels_on_grid
from pipeline.numerics.lovasz import lovasz_softmax
from pipeline.numerics.lsr import lsr

CLASSES = 3
PARTS = [
    "segmentation",
    "lovasz",
    "lsr_source",
    "lsr_target",
    "feature_association",
    "prediction_association",
]


@pytest.fixture
def network():
    return build_network(NetworkParameters(backbone="small"), CLASSES, seed=0).train()


def batch_of(images, with_labels, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = None
    if with_labels:
        labels = torch.randint(0, CLASSES, (images, 4, 5), generator=generator)
        labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
        labels[:, :8, :8] = 255
    names = tuple(f"{seed}-{k}" for k in range(images))
    return Batch(torch.randn(images, 3, 32, 40, generator=generator), labels, names, {})


def both_domains(images):
    return {"source": batch_of(images, True, 1), "target": batch_of(images, False, 2)}


def part_of(batch, cut):
    return {name: one[cut] for name, one in batch.items()}


def context_of(batch, whole=None):
    whole = whole or batch
    return Context(
        step=0,
        valid_pixels={
            name: (b.labels != 255).sum().float() for name, b in whole.items() if b.labels is not None
        },
        image_share={name: len(batch[name].names) / len(whole[name].names) for name in batch},
        num_classes=CLASSES,
    )


def only_term(network, batch, context=None, **parameters):
    method = Plca(PlcaParameters(method="plca", **parameters))
    terms = list(method.terms({"network": network}, batch, context or context_of(batch)))
    assert len(terms) == 1 and terms[0].name == "plca" and terms[0].updates == ("network",)
    return terms[0]


def test_summands_and_their_sum(network):
    batch = both_domains(4)
    term = only_term(network, batch)
    source, target = network(batch["source"].images), network(batch["target"].images)
    labels = batch["source"].labels
    grid = labels_on_grid(labels, source.main.shape[-2:])
    logits = network.upsample(source.main, labels.shape[-2:])

    def association(metric, of_source, of_target, aggregate):
        pairs = [
            cycle_association(a.flatten(1).T, aggregate(b.flatten(1).T, 0.5), y.flatten(), metric)
            for a, b, y in zip(of_source, of_target, grid, strict=True)
        ]
        return (pooled_mean(pairs[:2]) + pooled_mean(pairs[2:])) / 2

    expected = {
        "segmentation": torch.nn.functional.cross_entropy(logits, labels, ignore_index=255),
        "lovasz": (lovasz_softmax(logits[:2], labels[:2]) + lovasz_softmax(logits[2:], labels[2:])) / 2,
        "lsr_source": lsr(source.main, 10.0),
        "lsr_target": lsr(target.main, 10.0),
        "feature_association": association("cos", source.feature, target.feature, aggregate_cosine),
        "prediction_association": association(
            "kl", source.main.softmax(1), target.main.softmax(1), aggregate_kl
        ),
    }
    assert list(term.summands) == PARTS
    for name, value in expected.items():
        torch.testing.assert_close(term.summands[name], value.detach(), rtol=1e-5, atol=1e-6)
    weights = {"segmentation": 1, "lovasz": 3, "lsr_source": 0.01, "lsr_target": 0.01}
    total = sum(weights.get(name, 0.1) * value.item() for name, value in expected.items())
    assert term.value.item() * term.weight == pytest.approx(total, rel=1e-5)
    assert expected["feature_association"] > 0 and expected["prediction_association"] > 0


@pytest.mark.parametrize(
    ("switch", "parts"),
    [
        ("lovasz_weight", {"lovasz"}),
        ("feature_association_weight", {"feature_association"}),
        ("prediction_association_weight", {"prediction_association"}),
        ("lsr_weight", {"lsr_source", "lsr_target"}),
    ],
)
def test_each_summand_has_its_own_switch(network, switch, parts):
    term = only_term(network, both_domains(2), **{switch: 0.0})
    assert set(term.summands) == set(PARTS) - parts


def test_without_a_target_term_the_target_is_not_read():
    off = {"feature_association_weight": 0.0, "prediction_association_weight": 0.0}
    assert PlcaParameters(method="plca").domains() == ("source", "target")
    assert PlcaParameters(method="plca", **off).domains() == ("source", "target")
    assert Plca(PlcaParameters(method="plca", lsr_weight=0.0, **off)).domains == ("source",)


def test_an_absent_domain_takes_its_summands_with_it(network):
    batch = both_domains(2)
    only_source = only_term(network, {"source": batch["source"]})
    assert set(only_source.summands) == {"segmentation", "lovasz", "lsr_source"}
    assert only_source.target_logits is None
    only_target = only_term(network, {"target": batch["target"]})
    assert set(only_target.summands) == {"lsr_target"}


def test_the_target_is_forwarded_first_and_apart(network):
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    batch = both_domains(2)
    only_term(network, batch)
    assert [id(images) for images in seen] == [id(batch[name].images) for name in ("target", "source")]
    assert Plca(PlcaParameters(method="plca")).domains == ("target", "source")


def gradient_of(network, batches, whole):
    network.zero_grad()
    value = 0.0
    for batch in batches:
        term = only_term(network, batch, context_of(batch, whole))
        (term.value * term.weight).backward()
        value += term.value.item()
    return value, [p.grad.clone() for p in network.parameters()]


def test_two_micro_batches_equal_one(network):
    """The published code's Lovasz weight grew with accumulation and GPUs; here the cut changes nothing."""
    network = network.double()
    whole = {
        name: dataclasses.replace(one, images=one.images.double()) for name, one in both_domains(4).items()
    }
    # `upsample` rounds to float32, whatever the network.
    once = gradient_of(network, [whole], whole)
    twice = gradient_of(network, [part_of(whole, slice(0, 2)), part_of(whole, slice(2, 4))], whole)
    assert once[0] == pytest.approx(twice[0], rel=1e-6)
    for one, other in zip(once[1], twice[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    doubled = gradient_of(network, [whole, whole], whole)  # the comparison does see a factor
    assert doubled[0] == pytest.approx(2 * once[0], rel=1e-6)


def test_lovasz_has_groups_of_its_own(network):
    batch = both_domains(4)
    value = {size: only_term(network, batch, lovasz_images=size) for size in (1, 2, 4)}
    lovasz = [term.summands["lovasz"].item() for term in value.values()]
    assert len({round(one, 6) for one in lovasz}) == 3
    for name in ("segmentation", "feature_association", "prediction_association"):
        assert value[4].summands[name].item() == pytest.approx(value[1].summands[name].item(), rel=1e-6)


def test_labels_that_are_all_ignored_leave_zeros_and_a_finite_gradient(network):
    batch = both_domains(2)
    batch["source"].labels.fill_(255)
    term = only_term(network, batch)
    for name in ("segmentation", "lovasz", "feature_association", "prediction_association"):
        assert term.summands[name].item() == 0.0
    term.value.backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_published_defaults_and_no_dead_option():
    parameters = PlcaParameters(method="plca")
    assert (parameters.lovasz_weight, parameters.lsr_weight) == (3.0, 0.01)
    assert parameters.image_groups() == (2, 2)
    with pytest.raises(ValidationError, match="topk"):
        PlcaParameters(method="plca", topk=5)
