"""The factory: every network's interface, parameter groups without repeats, seeds, global random state."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.networks.build import build_network, construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.randomness import seeded

CONFIGURED = sorted(Path(__file__).parents[2].joinpath("config/networks").glob("*.yaml"))
SMALL = NetworkParameters(backbone="small", dilations=(1, 3, 6), skip=True, levels="multi")
SIDES = {"lenet": 28, "dtn": 32}


def parameters_of(path: Path) -> NetworkParameters:
    return NetworkParameters.model_validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", CONFIGURED, ids=lambda path: path.stem)
def test_every_configured_network_yields_each_trainable_tensor_exactly_once(path):
    parameters = parameters_of(path)
    with torch.device("meta"):
        network = construct(parameters, 7)
    yielded = [id(p) for p in network.backbone_parameters()] + [id(p) for p in network.head_parameters()]
    assert len(yielded) == len(set(yielded))
    assert set(yielded) == {id(p) for p in network.parameters() if p.requires_grad}
    assert list(network.head_parameters())
    assert list(network.backbone_parameters())


ON_ONE_MAP = [path for path in CONFIGURED if parameters_of(path).resolutions == "one"]
"""Those of two resolutions have no head on one map: `test_two_resolutions.py`."""


@pytest.mark.parametrize("path", ON_ONE_MAP, ids=lambda path: path.stem)
def test_every_configured_network_has_the_common_interface(path):
    parameters = parameters_of(path)
    side = SIDES.get(parameters.backbone, 64)
    with torch.device("meta"):
        network = construct(parameters, 7)
        output = network(torch.empty(2, 3, side, side))
        assert network.classify(output.feature, output.skip).shape == output.main.shape
    assert output.main.shape[:2] == (2, 7)
    assert output.feature.shape[1] == network.feature_channels
    assert (output.aux is not None) == (parameters.levels == "multi")
    assert output.feature.shape[-1] == (side - 1) // network.output_stride + 1 or (
        parameters.backbone == "resnet101_caffe" and output.feature.shape[-1] == side // 8 + 1
    )
    assert network.num_classes == 7
    assert network.profile.name == parameters.profile


def test_the_configured_networks_are_those_the_documentation_names():
    text = Path(__file__).parents[2].joinpath("docs/networks.md").read_text()
    assert len(CONFIGURED) >= 9
    assert [path.stem for path in CONFIGURED if f"`{path.stem}`" not in text] == []


def test_same_seed_same_tensors_other_seed_others():
    first, again, other = (build_network(SMALL, 4, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.stem.0.0.weight"], other["backbone.stem.0.0.weight"])
    assert not torch.equal(first["main.classifier.weight"], other["main.classifier.weight"])


def test_building_leaves_global_random_states_alone():
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    build_network(SMALL, 4, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_the_network_does_not_depend_on_the_global_random_state():
    torch.rand(3)
    first = build_network(SMALL, 4, 0).state_dict()
    torch.rand(5)
    again = build_network(SMALL, 4, 0).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_seeded_streams_differ_by_name():
    with seeded(0, "network"):
        first = torch.rand(3)
    with seeded(0, "discriminator"):
        second = torch.rand(3)
    assert not torch.equal(first, second)


def test_upsample_uses_the_networks_align_corners():
    logits = torch.tensor([[[[0.0, 3.0]]]], dtype=torch.float64)
    corners = construct(SMALL, 1)
    centres = construct(SMALL.model_copy(update={"align_corners": False}), 1)
    assert corners.upsample(logits, (1, 4)).flatten().tolist() == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert centres.upsample(logits, (1, 4)).flatten().tolist() == pytest.approx([0.0, 0.75, 2.25, 3.0])
    assert corners.upsample(logits, (1, 4)).dtype == torch.float32
