"""Self-training's objective: one mean over both domains, the regulariser on labelled target pixels only."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from pipeline.artifacts.errors import DataError
from pipeline.data.batch import Batch
from pipeline.methods.base import Context
from pipeline.methods.parameters import OBJECTIVES, SelfTrainingParameters
from pipeline.methods.registry import build_method
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.confidence_regularisers import MODEL_REGULARISERS

CLASSES = 3


@pytest.fixture
def network():
    return build_network(NetworkParameters(backbone="small", batch_norm="frozen"), CLASSES, seed=0).train()


def batch_of(images, seed, ignored=4, extras=None):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (images, 16, 20), generator=generator)
    labels[:, :ignored] = 255
    names = tuple(f"{seed}-{k}" for k in range(images))
    return Batch(torch.randn(images, 3, 16, 20, generator=generator), labels, names, extras or {})


def context_of(whole, batch=None):
    valid = {name: (part.labels != 255).sum().float() for name, part in whole.items()}
    share = {name: len(part.names) / len(whole[name].names) for name, part in (batch or whole).items()}
    return Context(0, valid, share, CLASSES)


def parameters_of(**values):
    return SelfTrainingParameters.model_validate({"method": "self_training", **values})


def terms_of(network, batch, context=None, **values):
    method = build_method("self_training", parameters_of(**values))
    return list(method.terms({"network": network}, batch, context or context_of(batch)))


def logits_of(network, batch):
    return network.upsample(network(batch.images).main, (16, 20))


def gradient_of(network, value):
    network.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_one_mean_over_the_labelled_pixels_of_both_domains(network):
    batch = {"source": batch_of(2, 1), "target": batch_of(2, 2, ignored=12)}
    terms = terms_of(network, batch)
    assert [term.name for term in terms] == ["segmentation", "target"]
    assert all(term.weight == 1.0 and term.updates == ("network",) for term in terms)
    logits = torch.cat([logits_of(network, part) for part in batch.values()])
    labels = torch.cat([part.labels for part in batch.values()])
    wanted = functional.cross_entropy(logits, labels, ignore_index=255)
    total = sum(term.value for term in terms)
    torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        gradient_of(network, sum(term.value for term in terms_of(network, batch))),
        gradient_of(network, wanted),
        rtol=1e-3,
        atol=1e-5,
    )
    assert terms[1].target_logits is not None and not terms[1].target_logits.requires_grad


@pytest.mark.parametrize("name", ["mrkld", "mrent", "mrl2"])
def test_the_regulariser_is_a_mean_over_labelled_target_pixels(network, name):
    batch = {"source": batch_of(1, 1), "target": batch_of(1, 2, ignored=10)}
    plain = terms_of(network, batch)
    own = terms_of(network, batch, regulariser=name, alpha=0.3)
    values = MODEL_REGULARISERS[name](logits_of(network, batch["target"]))
    penalty = values[batch["target"].labels != 255].mean()
    torch.testing.assert_close(own[1].summands[name], penalty.detach())
    torch.testing.assert_close(own[1].value, plain[1].value + 0.3 * penalty)
    torch.testing.assert_close(own[0].value, plain[0].value)


def test_mrkld_is_label_smoothing(network):
    """Cross-entropy + alpha r = (1 + alpha) x cross-entropy with mass alpha (K-1) / (K (1 + alpha)) spread."""
    alpha, batch = 0.5, {"target": batch_of(1, 2, ignored=0)}
    term = terms_of(network, batch, regulariser="mrkld", alpha=alpha)[0]
    smoothing = alpha / (1 + alpha)  # torch spreads it over all K classes, the label's own among them
    smooth = functional.cross_entropy(
        logits_of(network, batch["target"]), batch["target"].labels, label_smoothing=smoothing
    )
    torch.testing.assert_close(term.value, (1 + alpha) * smooth)


def test_micro_batches_sum_to_the_whole_step(network):
    whole = {"source": batch_of(2, 1), "target": batch_of(2, 2, ignored=9)}
    whole["target"].labels[0, :14] = 255  # unequal counts, so that a mean of means would differ
    parts = [{name: batch[k : k + 1] for name, batch in whole.items()} for k in range(2)]
    wanted = sum(term.value for term in terms_of(network, whole, regulariser="mrl2", alpha=0.2))
    total = sum(
        term.value
        for part in parts
        for term in terms_of(network, part, context_of(whole, part), regulariser="mrl2", alpha=0.2)
    )
    torch.testing.assert_close(total, wanted)


def test_a_batch_of_ignored_pixels_only_gives_a_differentiable_zero(network):
    batch = {"target": batch_of(1, 2, ignored=16)}
    term = terms_of(network, batch, regulariser="mrkld")[0]
    assert term.value.item() == 0.0
    assert not gradient_of(network, term.value).any()


def test_lrent_takes_soft_labels_where_the_label_map_has_a_label(network):
    generator = torch.Generator().manual_seed(5)
    soft = torch.rand(1, CLASSES, 16, 20, generator=generator).softmax(1).half()
    batch = {"source": batch_of(1, 1), "target": batch_of(1, 2, ignored=7, extras={"soft": soft})}
    term = terms_of(network, batch, regulariser="lrent")[1]
    kept = batch["target"].labels != 255
    losses = -(soft.float() * logits_of(network, batch["target"]).log_softmax(1)).sum(1)
    count = kept.sum() + (batch["source"].labels != 255).sum()
    torch.testing.assert_close(term.value, losses[kept].sum() / count)


def test_lrent_with_one_hot_soft_labels_is_cbst(network):
    target = batch_of(1, 2)
    one_hot = functional.one_hot(target.labels.clamp(max=CLASSES - 1), CLASSES).permute(0, 3, 1, 2).half()
    soft = Batch(target.images, target.labels, target.names, {"soft": one_hot})
    own = terms_of(network, {"target": soft}, regulariser="lrent")[0].value
    torch.testing.assert_close(own, terms_of(network, {"target": target})[0].value)


def test_missing_labels_are_named(network):
    target = batch_of(1, 2)
    with pytest.raises(DataError, match="soft_alpha"):
        terms_of(network, {"target": target}, regulariser="lrent")
    bare = Batch(target.images, None, target.names, {})
    with pytest.raises(DataError, match="2-0 has no label"):
        terms_of(network, {"target": bare}, Context(0, {}, {"target": 1.0}, CLASSES))


def test_an_empty_source_leaves_the_target_alone(network):
    batch = {"target": batch_of(2, 2)}
    terms = terms_of(network, batch)
    assert [term.name for term in terms] == ["target"]
    wanted = functional.cross_entropy(
        logits_of(network, batch["target"]), batch["target"].labels, ignore_index=255
    )
    torch.testing.assert_close(terms[0].value, wanted)


def test_a_multi_level_network_trains_both_heads():
    multi = NetworkParameters(backbone="small", levels="multi", batch_norm="frozen")
    network = build_network(multi, CLASSES, seed=0).train()
    batch = {"target": batch_of(1, 2)}
    output = network(batch["target"].images)
    main, aux = (
        functional.cross_entropy(network.upsample(value, (16, 20)), batch["target"].labels, ignore_index=255)
        for value in (output.main, output.aux)
    )
    torch.testing.assert_close(terms_of(network, batch)[0].value, main + 0.1 * aux)


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": 0.2},
        {"regulariser": "lrent", "alpha": 0.2},
        {"source_portion": 0.5, "source_max": 0.4},
        {"regulariser": "mrkld", "alpha": 0.0},
        {"regulariser": "entropy"},
    ],
)
def test_parameters_that_cannot_mean_anything_are_refused(values):
    with pytest.raises(ValidationError):
        parameters_of(**values)


@pytest.mark.parametrize(("name", "published"), [("mrkld", 0.1), ("mrent", 0.1), ("mrl2", 0.025)])
def test_a_regulariser_has_its_published_weight_unless_told_otherwise(network, name, published):
    batch = {"target": batch_of(1, 2)}
    assert parameters_of(regulariser=name).regulariser_weight() == published
    silent, told = (
        terms_of(network, batch, regulariser=name, **more)[0] for more in ({}, {"alpha": published})
    )
    assert silent.value == told.value
    assert silent.value != terms_of(network, batch)[0].value


def test_only_self_training_reads_pseudo_labels_of_the_target():
    assert {name: model.pseudo_labelled for name, model in OBJECTIVES.items() if model.pseudo_labelled} == {
        "self_training": ("target",)
    }
