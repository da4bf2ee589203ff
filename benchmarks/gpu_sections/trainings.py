"""Trainings on made-up batches: every method, real networks, the real loop, nothing read from disk."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gpu_sections.harness import Scale, Stopwatch, synchronise
from pipeline.data.batch import Batch
from pipeline.methods.registry import build_method
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.placement import place
from pipeline.numerics import Precision
from pipeline.training.devices import configure_determinism
from pipeline.training.graphs import play_passes
from pipeline.training.learner import Learner
from pipeline.training.loop import Training, TrainingJob
from pipeline.training.metrics import MetricsTable
from pipeline.training.optimisers import build_optimisers
from pipeline.training.parameters import RunSettings, TrainParameters
from pipeline.training.progress import Progress
from pipeline.training.step import StepRunner

CLASSES = 19
IGNORE = 255
BLOCK = 16
"""Side of the squares of one class in made-up labels."""

Determinism = Literal["exact", "fast"]
StepBatches = Mapping[str, Batch]

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet101": {
        "backbone": "resnet101_caffe",
        "levels": "multi",
        "batch_norm": "batch_frozen_affine",
        "profile": "caffe",
    },
    "resnet101-plca": {
        "backbone": "resnet101_caffe",
        "head_bias": False,
        "batch_norm": "train",
        "align_corners": False,
        "profile": "caffe",
    },
    "resnet18": {"backbone": "resnet18", "levels": "multi", "batch_norm": "batch_frozen_affine"},
    "resnet18-plca": {"backbone": "resnet18", "head_bias": False, "batch_norm": "train"},
    "mobilenet": {
        "backbone": "mobilenet_v2",
        "output_stride": 16,
        "dilations": [1, 3, 6],
        "skip": True,
        "batch_norm": "batch_frozen_affine",
    },
    "mobilenet-frozen": {
        "backbone": "mobilenet_v2",
        "output_stride": 16,
        "dilations": [1, 3, 6],
        "skip": True,
    },
    "small": {"backbone": "small", "dilations": [1, 3, 6], "skip": True},
}
"""The networks of `config/networks` without weight files; `mobilenet` with the batch's statistics, since
frozen ones do not fit random weights, and `mobilenet-frozen`, whose gradient amplifies rounding less."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "supervised": ("supervised", {}),
    "minent": ("minent", {}),
    "advent": ("advent", {}),
    "adaptseg": ("adaptseg", {}),
    "plca": ("plca", {}),
    "ass": ("ass", {}),
    "self_training": ("self_training", {}),
    "mrkld": ("self_training", {"regulariser": "mrkld"}),
    "lrent": ("self_training", {"regulariser": "lrent"}),
    "mean_teacher": ("mean_teacher", {"mask_weight": 1.0}),
}
"""Every method, with the regularisers of self-training and the masked view: name and objective."""


def train_parameters(method: str, precision: Precision, **more: Any) -> TrainParameters:
    """Parameters of a training of one of `METHODS`."""
    name, objective = METHODS[method]
    values: dict[str, Any] = {
        "method": name,
        "objective": objective,
        "precision": precision,
        "batch": 2,
        "snapshots": 1,
        "optimiser": {"lr": 2.5e-4},
    }
    return TrainParameters.model_validate(values | more)


def set_up(determinism: Determinism, scale: Scale) -> None:
    """Set torch up as a stage does."""
    configure_determinism(determinism == "exact", scale.threads)


@cache
def _built(name: str) -> SegmentationNetwork:
    return build_network(NetworkParameters.model_validate(NETWORKS[name]), CLASSES, seed=0)


def network_of(name: str) -> SegmentationNetwork:
    """A new copy of one of `NETWORKS`, on the CPU, always with the same weights."""
    return copy.deepcopy(_built(name))


def made_up_step(parameters: TrainParameters, sizes: Mapping[str, tuple[int, int]], pin: bool) -> StepBatches:
    """One step's images of every domain of the method; `sizes`: width and height by domain.

    `labelled` has the target's size. Labels are squares of one class, a strip of them ignored.
    """
    generator = torch.Generator().manual_seed(0)
    objective = parameters.objective
    batch = {}
    for domain in objective.domains():
        width, height = sizes.get(domain, sizes["target"])
        shape = (parameters.batch, height, width)
        labels = (
            None
            if domain == "target" and domain not in objective.pseudo_labelled
            else _labels(shape, generator)
        )
        soft = domain == "target" and getattr(objective, "regulariser", "") == "lrent"
        extras = {"soft": _soft_labels(shape, generator)} if soft else {}
        images = torch.randint(0, 256, (shape[0], 3, *shape[1:]), dtype=torch.uint8, generator=generator)
        names = tuple(f"{domain}-{index}" for index in range(shape[0]))
        made = Batch(images, labels, names, extras)
        batch[domain] = made.pin_memory() if pin else made
    return batch


def _labels(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    count, height, width = shape
    squares = (count, -(-height // BLOCK), -(-width // BLOCK))
    classes = torch.randint(0, CLASSES, squares, dtype=torch.uint8, generator=generator)
    labels = classes.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)[:, :height, :width].contiguous()
    labels[:, : height // 8] = IGNORE
    return labels


def _soft_labels(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    return torch.randn((shape[0], CLASSES, *shape[1:]), generator=generator).softmax(dim=1)


class NoStore:
    """Keeps no training state."""

    def load_newest(self) -> None:
        """Find nothing."""

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep nothing."""


def make_learner(parameters: TrainParameters, network: SegmentationNetwork) -> Learner:
    """The network with its method and auxiliary modules, always with the same weights."""
    method = build_method(parameters.method, parameters.objective)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Learner(network, method.build_modules(network, CLASSES), method, parameters, seed=0)


def make_job(
    parameters: TrainParameters,
    network: SegmentationNetwork,
    loader: Callable[[int, int], Iterator[StepBatches]],
    scale: Scale,
    graphs: bool = True,
) -> TrainingJob:
    """A job for the real loop that keeps neither states nor snapshots; `graphs`: as in `run`."""
    return TrainingJob(
        learner=make_learner(parameters, network),
        loader=loader,
        store=NoStore(),  # type: ignore[arg-type]
        snapshot=lambda step: None,
        stop=lambda: None,
        progress=Progress("benchmark", parameters.steps, None),
        metrics=MetricsTable(None),
        settings=RunSettings(state_minutes=1e6, log_every=10**6, threads=scale.threads, graphs=graphs),
        device=scale.device,
    )


@dataclass(frozen=True)
class Trained:
    """A finished training: times between the loop's calls for a batch, last values of the terms, weights."""

    step_ms: list[float]
    values: dict[str, float]
    modules: dict[str, nn.Module]


def train(
    network: SegmentationNetwork,
    parameters: TrainParameters,
    sizes: Mapping[str, tuple[int, int]],
    scale: Scale,
    determinism: Determinism,
    warm_up: int = 0,
    graphs: bool = True,
) -> Trained:
    """Run the real loop over one batch again and again; the loop raises where a number is not finite."""
    set_up(determinism, scale)
    batch = made_up_step(parameters, sizes, pin=scale.device.type == "cuda")
    watch = Stopwatch(scale.device)

    def loader(start: int, stop: int) -> Iterator[StepBatches]:
        for _ in range(start, stop):
            watch.mark()
            yield batch

    job = make_job(parameters, network, loader, scale, graphs)
    Training(job).run()
    return Trained(watch.milliseconds(skip=warm_up), job.metrics.latest(), job.learner.modules)


@dataclass
class Steps:
    """Single steps without the loop: gradient and optimisers, and nothing that waits for the device."""

    runner: StepRunner
    optimisers: dict[str, Optimizer]
    batch: StepBatches
    device: torch.device
    done: int = 0

    def gradient(self) -> None:
        """Leave the next step's gradient in the weights."""
        self.runner.run(self.done, self.batch)
        self.done += 1

    def step(self) -> None:
        """Make one optimiser step."""
        self.gradient()
        for optimiser in self.optimisers.values():
            optimiser.step()

    def host_ms(self, repeats: int) -> tuple[float, float]:
        """Median time until a step is launched, and until the device has done it; the device starts idle."""
        launched, finished = [], []
        for _ in range(repeats):
            synchronise(self.device)
            started = time.perf_counter()
            self.step()
            launched.append(time.perf_counter() - started)
            synchronise(self.device)
            finished.append(time.perf_counter() - started)
        return 1000 * statistics.median(launched), 1000 * statistics.median(finished)


def make_steps(
    network: SegmentationNetwork,
    parameters: TrainParameters,
    sizes: Mapping[str, tuple[int, int]],
    device: torch.device,
    graphs: bool = False,
) -> Steps:
    """Put network and modules on the device as the loop does; `graphs`: as in `run`."""
    learner = make_learner(parameters, network)
    for module in learner.modules.values():
        module.train()
        place(module, device)
    runner = StepRunner(learner, device)
    if not parameters.compile:
        play_passes(network, device, graphs)
    batch = made_up_step(parameters, sizes, pin=device.type == "cuda")
    return Steps(runner, build_optimisers(network, learner.auxiliary, parameters), batch, device)
