"""Models of timm, killed in the middle and resumed, end with the bits of an uninterrupted training."""

from dataclasses import replace
from pathlib import Path

import pytest
from toys import CLASSES, Toy, differing, tensors_of, toy_job, toy_learner, toy_parameters

from pipeline.artifacts.errors import Interrupted
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.training.loop import Training

NETWORKS = {
    "pvt_v2_b0": {"output_stride": 32, "head": "daformer", "dilations": (1, 6), "batch_norm": "train"},
    "convnext_atto": {"output_stride": 16, "skip": True},
    "tf_efficientnet_lite0": {"output_stride": 16, "skip": True, "batch_norm": "train"},
    "vit_small_patch14_reg4_dinov2": {"output_stride": 14, "head": "vit_light", "layer_decay": 0.9},
    "vit_small_patch16_dinov3": {"output_stride": 16, "head": "vit_light", "checkpointing": True},
}
STEPS = 20


def job(folder: Path, name: str, stop_after: int | None = None) -> Toy:
    """Twenty steps of two images of 32x32 pixels, blocks and channels dropped at random."""
    network = NetworkParameters(backbone=f"timm/{name}", drop_path=0.2, **NETWORKS[name])
    parameters = toy_parameters(steps=STEPS, snapshots=1, optimiser={"kind": "adamw", "lr": 0.001})
    learner = toy_learner(parameters, build_network(network, CLASSES, seed=0))
    toy = toy_job(folder, parameters, stop_after=stop_after)
    return replace(toy, job=replace(toy.job, learner=learner, snapshot=lambda step: None))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path, name: str) -> None:
    whole = job(tmp_path / "whole", name).job
    start = {key: tensor.clone() for key, tensor in tensors_of(whole).items()}
    Training(whole).run()
    with pytest.raises(Interrupted):
        Training(job(tmp_path / "again", name, stop_after=11).job).run()
    again = job(tmp_path / "again", name).job
    Training(again).run()
    assert differing(tensors_of(whole), tensors_of(again)) == []
    assert len(differing(start, tensors_of(again))) > len(start) / 2
