"""Peak memory of one real training step on the CPU, beside what `plan --cost` estimates for it.

    python benchmarks/step_memory.py paper-daformer-gta5
    python benchmarks/step_memory.py paper-vfm-uda-gta5 --network dinov2-vits14 --batch 1

Random weights and images, the experiment's own crops, batch, objective and optimiser in float32. Measured is by how much
the process grows at most, from before the network is made until the optimiser has made its step (Linux and macOS).
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.config.load import Library
from pipeline.config.suites import SetLayer, read_suite
from pipeline.config.yaml_files import read_yaml
from pipeline.data.batch import Batch
from pipeline.methods.registry import build_method
from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.placement import place
from pipeline.numerics import WidthHeight
from pipeline.plan.recipes import expand_recipe
from pipeline.training.learner import Learner
from pipeline.training.optimisers import build_optimisers
from pipeline.training.parameters import TrainParameters
from pipeline.training.step import StepRunner
from pipeline.training.step_memory import step_memory

CONFIG = Path("config")
SUITE = CONFIG / "paper-modern.yaml"
CLASSES = 19
THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
GIB = 2**30
UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts a process's peak."""


def training_of(name: str, network: str | None) -> tuple[NetworkParameters, TrainParameters]:
    """The network and the last training stage of an experiment."""
    experiment, library = read_suite(SUITE, read_yaml(SUITE)).experiments[name], Library(CONFIG)
    recipe = library.recipe(experiment.recipe, "benchmark")
    stages = [
        entry.parameters
        for entry in expand_recipe(recipe, experiment, SetLayer("none", {}), "recipe")
        if isinstance(entry.parameters, TrainParameters)
    ]
    return library.network(network or experiment.network, "benchmark"), stages[-1]


def crops(parameters: TrainParameters) -> dict[str, WidthHeight]:
    """Width and height of each domain's images; all experiments of the suite crop them."""
    sizes = {role: parameters.augmentation[role].crop for role in parameters.objective.domains()}
    return {role: size for role, size in sizes.items() if size is not None}


def real_step(network: NetworkParameters, parameters: TrainParameters) -> int:
    """Bytes by which this process grows at most over one step."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    built, method = construct(network, CLASSES), build_method(parameters.method, parameters.objective)
    learner = Learner(built, method.build_modules(built, CLASSES), method, parameters, 0, things=THINGS)
    for module in learner.modules.values():
        module.train()
        place(module, torch.device("cpu"))
    runner = StepRunner(learner, torch.device("cpu"))
    optimisers = build_optimisers(built, learner.auxiliary, parameters)
    runner.run(0, {role: images(parameters.batch, size, role) for role, size in crops(parameters).items()})
    for optimiser in optimisers.values():
        optimiser.step()
    return UNIT * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def images(count: int, size: WidthHeight, role: str) -> Batch:
    """Noise, and on the source labels in squares of 64 pixels."""
    width, height = size
    labels = None
    if role == "source":
        coarse = torch.randint(0, CLASSES, (count, height // 64, width // 64), dtype=torch.uint8)
        labels = coarse.repeat_interleave(64, 1).repeat_interleave(64, 2)
    pixels = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
    return Batch(pixels, labels, tuple(str(slot) for slot in range(count)))


def main() -> None:
    """Print both figures for one experiment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment", help=f"of {SUITE}")
    parser.add_argument("--network", help="of config/networks, in place of the experiment's")
    parser.add_argument("--batch", type=int, help="in place of the experiment's")
    chosen = parser.parse_args()
    network, parameters = training_of(chosen.experiment, chosen.network)
    changes = {"precision": "float32", "batch": chosen.batch or parameters.batch}
    parameters = parameters.model_copy(update=changes)
    estimate = step_memory(network, CLASSES, parameters, crops(parameters), frozenset({"source"})).peak
    start = time.perf_counter()
    grown = real_step(network, parameters)
    print(
        f"{chosen.experiment}, batch {parameters.batch}: estimated {estimate / GIB:.2f} GiB, "
        f"grown by {grown / GIB:.2f} GiB in {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
