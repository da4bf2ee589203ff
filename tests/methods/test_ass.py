"""ASS-R: without its own terms it is AdaptSegNet; with them, class vectors against a slow form."""

import pytest
import torch

from pipeline.data.batch import Batch
from pipeline.methods.adaptseg import Adaptseg
from pipeline.methods.ass import SEMANTIC, Ass
from pipeline.methods.base import Context
from pipeline.methods.parameters import AdaptsegParameters, AssParameters, SupervisedParameters
from pipeline.methods.supervised import Supervised
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters

CLASSES = 3
SIZE = (32, 40)


@pytest.fixture
def network():
    return build_network(NetworkParameters(backbone="small"), CLASSES, seed=0).train()


def batch_of(images, seed, with_labels=True):
    generator = torch.Generator().manual_seed(seed)
    labels = None
    if with_labels:
        labels = torch.randint(0, CLASSES, (images, 4, 5), generator=generator)
        labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
        labels[:, :8] = 255
    names = tuple(f"{seed}-{k}" for k in range(images))
    return Batch(torch.randn(images, 3, *SIZE, generator=generator), labels, names, {})


def three_domains(images=2):
    return {
        "source": batch_of(images, 1),
        "target": batch_of(images, 2, with_labels=False),
        "labelled": batch_of(images, 3),
    }


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


def modules_of(method, network):
    torch.manual_seed(7)
    return {"network": network, **method.build_modules(network, CLASSES)}


def run(method, modules, batch, whole=None):
    """Values of all terms, and the gradient of each module as the training loop would collect it."""
    for module in modules.values():
        module.zero_grad()
    values = {}
    for term in method.terms(modules, batch, context_of(batch, whole)):
        inputs = [p for name in term.updates for p in modules[name].parameters() if p.requires_grad]
        torch.autograd.backward(term.value * term.weight, inputs=inputs)
        values[term.name] = term.value.item() * term.weight
        values |= {name: value.item() for name, value in term.summands.items()}
    return values, {
        name: [p.grad.clone() for p in module.parameters() if p.grad is not None]
        for name, module in modules.items()
    }


@pytest.mark.parametrize("gan", ["vanilla", "ls"])
def test_without_labelled_images_it_is_adaptsegnet(network, gan):
    batch = three_domains()
    del batch["labelled"]
    base = Adaptseg(AdaptsegParameters(method="adaptseg", gan=gan))
    method = Ass(AssParameters(method="ass", gan=gan, semantic_weight=0.0))
    expected, gradients = run(base, modules_of(base, network), batch)
    found, own_gradients = run(method, modules_of(method, network), batch)
    assert found == expected and "adversarial" in found and "discriminator_main" in found
    for name, gradient in gradients.items():
        assert all(torch.equal(a, b) for a, b in zip(gradient, own_gradients[name], strict=True))


def test_without_semantic_weight_it_is_adaptsegnet_plus_target_cross_entropy(network):
    batch = three_domains()
    base = Adaptseg(AdaptsegParameters(method="adaptseg"))
    both = Supervised(SupervisedParameters(method="supervised", labelled_weight=1.0))
    method = Ass(AssParameters(method="ass", semantic_weight=0.0))
    assert SEMANTIC not in method.build_modules(network, CLASSES)
    expected, gradients = run(base, modules_of(base, network), batch)
    of_labelled, labelled_gradients = run(both, {"network": network}, {"labelled": batch["labelled"]})
    found, own_gradients = run(method, modules_of(method, network), batch)
    assert found == pytest.approx(expected | of_labelled)
    for one, a, b in zip(
        own_gradients["network"], gradients["network"], labelled_gradients["network"], strict=True
    ):
        torch.testing.assert_close(one, a + b)
    for one, a in zip(own_gradients["discriminator_main"], gradients["discriminator_main"], strict=True):
        torch.testing.assert_close(one, a)


def slow_semantic(network, discriminator, batch, tensor, domain, gan):
    """Mean over images of the mean over classes, from loops over cells."""
    output = network(batch.images)
    maps = {"softmax": output.main.softmax(1), "feature": output.feature}[tensor]
    per_image = []
    for image, labels in zip(maps, batch.labels[:, ::8, ::8], strict=True):  # the grid is 1/8
        losses = []
        for c in labels[labels != 255].unique().tolist():
            vector = image[:, labels == c].mean(dim=1)
            answer = discriminator(torch.cat([vector, torch.eye(CLASSES)[c]])[None])[0, 0]
            if gan == "ls":
                losses.append((answer - domain) ** 2)
            else:
                losses.append(torch.nn.functional.softplus(-answer if domain else answer))
        per_image.append(torch.stack(losses).mean())
    return torch.stack(per_image).mean().item()


@pytest.mark.parametrize("gan", ["vanilla", "ls"])
@pytest.mark.parametrize("tensor", ["softmax", "feature"])
def test_semantic_terms_equal_the_slow_form(network, tensor, gan):
    batch = three_domains()
    method = Ass(AssParameters(method="ass", semantic_tensor=tensor, gan=gan))
    modules = modules_of(method, network)
    found, _ = run(method, modules, batch)

    def slow(domain_name, domain):
        return slow_semantic(network, modules[SEMANTIC], batch[domain_name], tensor, domain, gan)

    with torch.no_grad():
        assert found["semantic"] == pytest.approx(slow("labelled", 0), rel=1e-4)
        expected = 0.5 * slow("source", 0) + 0.5 * slow("labelled", 1)
    assert found[SEMANTIC] == pytest.approx(expected, rel=1e-4)
    assert found["labelled"] == pytest.approx(
        found["segmentation_labelled"] + 1e-3 * found["semantic"], rel=1e-6
    )


def test_only_the_semantic_discriminator_learns_from_its_term_and_the_network_from_the_other(network):
    batch = three_domains()
    method = Ass(AssParameters(method="ass"))
    modules = modules_of(method, network)
    for term in method.terms(modules, batch, context_of(batch)):
        reached = {
            name
            for name, module in modules.items()
            for gradient in torch.autograd.grad(
                term.value, list(module.parameters()), retain_graph=True, allow_unused=True
            )
            if gradient is not None and gradient.abs().sum() > 0
        }
        if term.name == SEMANTIC:
            assert reached == {SEMANTIC} and term.updates == (SEMANTIC,)
        if term.name == "labelled":
            assert reached == {"network", SEMANTIC} and term.updates == ("network",)


def test_no_class_in_the_draw_leaves_zeros(network):
    batch = three_domains()
    batch["labelled"].labels.fill_(255)
    method = Ass(AssParameters(method="ass"))
    found, gradients = run(method, modules_of(method, network), batch)
    assert found["semantic"] == 0.0 and found["segmentation_labelled"] == 0.0
    assert found[SEMANTIC] > 0  # the source's half is still there
    assert all(g.isfinite().all() for gradient in gradients.values() for g in gradient)


def test_two_micro_batches_equal_one(network):
    whole = three_domains(4)
    whole["labelled"].labels[0][whole["labelled"].labels[0] == 2] = 1  # unequal numbers of classes
    method = Ass(AssParameters(method="ass"))
    modules = modules_of(method, network)
    once, _ = run(method, modules, whole)
    halves = []
    for cut in (slice(0, 2), slice(2, 4)):
        part = {name: batch[cut] for name, batch in whole.items()}
        halves.append(run(method, modules, part, whole)[0])
    assert once == pytest.approx({name: halves[0][name] + halves[1][name] for name in once}, rel=1e-4)


@pytest.mark.parametrize("tensor", ["softmax", "feature"])
def test_size_of_the_semantic_discriminator(network, tensor):
    method = Ass(AssParameters(method="ass", semantic_tensor=tensor))
    module = method.build_modules(network, CLASSES)[SEMANTIC]
    width = {"softmax": CLASSES, "feature": network.feature_channels}[tensor]
    assert module(torch.zeros(5, width + CLASSES)).shape == (5, 1)
