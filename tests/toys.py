"""A tiny network, tiny batches and a training job for tests; every number follows from a formula."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.batch import Batch
from pipeline.methods.registry import build_method
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.batch_norm import install_mode
from pipeline.networks.parameters import NetworkParameters
from pipeline.training.distributed import SINGLE
from pipeline.training.fingerprint import Fingerprint
from pipeline.training.learner import Learner
from pipeline.training.loop import TrainingJob
from pipeline.training.metrics import MetricsTable
from pipeline.training.parameters import RunSettings, TrainParameters
from pipeline.training.progress import Progress
from pipeline.training.state import StateStore

CLASSES = 4
CLASS_NAMES = ("road", "sky", "car", "tree")
SIDE = 32


def fill_(module: nn.Module, phase: float = 0.0) -> None:
    """Set all weights to a fixed pattern, independent of any random generator."""
    for index, tensor in enumerate(module.parameters()):
        count = torch.arange(tensor.numel(), dtype=torch.float64)
        scale = 1.5 / max(1, tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.1
        pattern = torch.sin(count * 1.7 + index + phase) * scale
        tensor.data.copy_(pattern.reshape(tensor.shape))


class ToyNetwork(SegmentationNetwork):
    """Two convolutions of stride 2, BatchNorm, dropout where asked, a main and perhaps an aux head."""

    def __init__(self, levels: str = "single", batch_norm: str = "frozen", dropout: float = 0.0) -> None:
        super().__init__()
        parameters = NetworkParameters(backbone="resnet18", levels=levels, batch_norm=batch_norm)
        self.describe(parameters, CLASSES)
        self.feature_channels = 6
        self.first = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.dropout = nn.Dropout2d(dropout)
        self.main = nn.Conv2d(6, CLASSES, 1)
        self.head_roles = {"main": "main"}
        if levels == "multi":
            self.aux = nn.Conv2d(5, CLASSES, 1)
            self.head_roles = {"main": "main", "aux": "aux"}
        fill_(self)
        nn.init.ones_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)
        self.batch_norm_mode = parameters.batch_norm
        install_mode(self, parameters.batch_norm)

    def forward(self, images: Tensor) -> Output:
        low = torch.relu(self.norm(self.first(images)))
        feature = self.dropout(torch.tanh(self.second(low)))
        aux = self.aux(low) if "aux" in self.head_roles else None
        return Output(self.main(feature), aux, feature)


def toy_batch(domain: str, step: int, slots: range, labelled: bool) -> Batch:
    """Images and labels as a function of domain, step and slot."""
    images, labels = [], []
    for slot in slots:
        random = np.random.default_rng([len(domain), step, slot])
        label = random.integers(0, CLASSES, (SIDE // 8, SIDE // 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        label[:3, : 4 + slot] = 255
        shade = (label.clip(max=CLASSES)[None] * 50 + random.integers(0, 40, (3, SIDE, SIDE))).astype(
            np.uint8
        )
        images.append(torch.from_numpy(shade))
        labels.append(torch.from_numpy(label))
    names = tuple(f"{domain}-{step}-{slot}" for slot in slots)
    return Batch(torch.stack(images), torch.stack(labels) if labelled else None, names)


def toy_loader(domains: tuple[str, ...], slots: range) -> Callable[[int, int], Iterator[dict[str, Any]]]:
    """A stateless loader as the data room's."""

    def load(start: int, stop: int) -> Iterator[dict[str, Any]]:
        for step in range(start, stop):
            yield {name: toy_batch(name, step, slots, labelled=name != "target") for name in domains}

    return load


def toy_parameters(method: str = "supervised", **values: Any) -> TrainParameters:
    """Parameters of a short training."""
    defaults = {"steps": 6, "batch": 2, "snapshots": 3, "optimiser": {"lr": 0.05, "head_lr_mult": 2.0}}
    return TrainParameters.model_validate({"method": method, **defaults, **values})


def toy_store(folder: Path) -> StateStore:
    """A state store as a stage makes it."""
    return StateStore(folder, Fingerprint("toy", "data", {"torch": "2"}, "cpu", 1, 1))


def toy_learner(
    parameters: TrainParameters, network: SegmentationNetwork, method: Any = None, seed: int = 7
) -> Learner:
    """A learner whose auxiliary modules have weights by a formula; `method`: that of the parameters, unless given."""
    method = method or build_method(parameters.method, parameters.objective)
    auxiliary = method.build_modules(network, CLASSES)
    for index, module in enumerate(auxiliary.values()):
        fill_(module, phase=float(index))
    return Learner(network, auxiliary, method, parameters, seed, CLASS_NAMES)


@dataclass
class Toy:
    """A job and what its callbacks left."""

    job: TrainingJob
    snapshots: dict[int, dict[str, Tensor]]


def toy_job(
    folder: Path,
    parameters: TrainParameters,
    *,
    levels: str = "single",
    batch_norm: str = "train",
    dropout: float = 0.5,
    method: Any = None,
    seed: int = 7,
    stop_after: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    **more: Any,
) -> Toy:
    """A job on toys; `stop_after`: the number of steps after which it is asked to stop."""
    learner = toy_learner(parameters, ToyNetwork(levels, batch_norm, dropout), method, seed)
    network = learner.network
    snapshots: dict[int, dict[str, Tensor]] = {}

    def snapshot(step: int) -> None:
        snapshots[step] = {name: value.clone() for name, value in network.state_dict().items()}

    asked = 0

    def stop() -> str | None:
        nonlocal asked
        asked += 1
        return "told to" if stop_after is not None and asked >= stop_after else None

    is_main = more.get("processes", SINGLE).is_main
    log = logging.getLogger("toy") if is_main else None
    values: dict[str, Any] = {
        "learner": learner,
        "loader": toy_loader(learner.method.domains, range(parameters.batch)),
        "store": toy_store(folder / "state"),
        "stop": stop,
        "snapshot": snapshot,
        "progress": Progress("toy", parameters.steps, log, clock=clock),
        "metrics": MetricsTable(folder / "metrics.csv" if is_main else None),
        "settings": RunSettings(state_minutes=1e6, log_every=2),
    }
    return Toy(TrainingJob(**values | more), snapshots)


def tensors_of(job: TrainingJob) -> dict[str, Tensor]:
    """All weights and buffers of a job's network and modules."""
    return {
        f"{name}/{key}": tensor
        for name, module in job.learner.modules.items()
        for key, tensor in module.state_dict().items()
    }


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of tensors that are not equal bit for bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]
