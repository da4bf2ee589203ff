"""`freeze_below`: which parts of the backbone stay as they start, and that nothing of them moves."""

import pytest
import torch

from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.randomness import seeded_weights

WEIGHTS = {"source": "torchvision"}


def built(backbone, stride, **options):
    parameters = NetworkParameters(backbone=backbone, weights=WEIGHTS, freeze_below=stride, **options)
    with seeded_weights(0):
        return construct(parameters, 4)


@pytest.mark.parametrize(
    ("backbone", "output_stride", "stride", "last_frozen", "first_trained"),
    [
        ("mobilenet_v2", 16, 8, "backbone.features.6.", "backbone.features.7."),
        ("mobilenet_v2", 8, 4, "backbone.features.3.", "backbone.features.4."),
        ("mobilenet_v3_large", 16, 8, "backbone.features.6.", "backbone.features.7."),
        ("mobilenet_v3_large", 8, 16, "backbone.features.12.", "backbone.features.13."),
        ("resnet18", 16, 8, "backbone.layer2.", "backbone.layer3."),
        ("resnet50", 8, 4, "backbone.layer1.", "backbone.layer2."),
        ("resnet101_caffe", 8, 8, "layer2.", "layer3."),
    ],
)
def test_parts_up_to_the_stride_are_constants(backbone, output_stride, stride, last_frozen, first_trained):
    with torch.device("meta"):
        network = built(backbone, stride, output_stride=output_stride, batch_norm="train")
    names = [name for name, _ in network.named_parameters()]
    trained = [name for name, tensor in network.named_parameters() if tensor.requires_grad]
    first = next(place for place, name in enumerate(names) if name.startswith(first_trained))
    assert names[first - 1].startswith(last_frozen)
    assert trained == names[first:]
    assert [id(t) for t in network.backbone_parameters()] == [
        id(t)
        for name, t in network.named_parameters()
        if t.requires_grad and not network.belongs_to_head(name)
    ]


@pytest.mark.parametrize("mode", ["frozen", "batch_frozen_affine", "train"])
def test_a_training_forward_moves_nothing_of_the_frozen_part(mode):
    network = built("mobilenet_v2", 8, output_stride=16, batch_norm=mode)
    network.eval()
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    network(images).main.sum().backward()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {int(name.split(".")[2]) for name in moved} == (set(range(7, 19)) if mode != "frozen" else set())
    part = network.backbone.features[:7]
    assert all(tensor.grad is None for tensor in part.parameters())
    assert network.backbone.features[7].conv[0][0].weight.grad is not None


def test_without_the_key_everything_is_trained():
    network = built("resnet18", None)
    assert network.frozen_parts == ()
    assert network.backbone.conv1.weight.requires_grad
