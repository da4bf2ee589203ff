"""Processor time of a training step on a CPU: the network as built against its quick form, in turn in one run.

    python benchmarks/cpu_step.py                                             # IDDA -> CamVid in small: a minute
    python benchmarks/cpu_step.py --method advent
    python benchmarks/cpu_step.py --network mobilenet-v3-large --precision float32
    python benchmarks/cpu_step.py --layers                                    # the depthwise layers one by one
    python benchmarks/cpu_step.py --size 64 48 --classes 3 --steps 1          # seconds

A step is what a training stage does between loading a batch and logging it: normalisation, the method's forward
and backward passes, the optimisers. *plain* runs torch's own layers, as everywhere but on CPUs, *quick* what
`pipeline.networks.placement` makes of them, *frozen* the same with `freeze_below: 8`. All start from the same
random weights and see the same images of noise: what they hold costs no time. Writes `benchmarks/out/cpu_step.json`.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.files import write_json
from pipeline.data.batch import Batch
from pipeline.methods.registry import build_method
from pipeline.networks.build import construct
from pipeline.networks.convolution import Geometry, convolve
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.placement import place
from pipeline.numerics.randomness import seeded_weights
from pipeline.training.learner import Learner
from pipeline.training.optimisers import build_optimisers
from pipeline.training.parameters import TrainParameters
from pipeline.training.step import StepRunner

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "out" / "cpu_step.json"
CPU = torch.device("cpu")
FROZEN_STRIDE = 8
LAYERS = [
    # channels, kernel, stride, dilation, stride of the images: MobileNetV2, V3 and EfficientNets, output stride 16
    (32, 3, 1, 1, 2), (96, 3, 2, 1, 2), (144, 3, 1, 1, 4), (144, 3, 2, 1, 4), (192, 3, 1, 1, 8), (192, 3, 2, 1, 8),
    (576, 3, 1, 1, 16), (960, 3, 1, 2, 16), (72, 5, 2, 1, 4), (120, 5, 1, 1, 8), (672, 5, 1, 1, 16), (1152, 5, 1, 2, 16),
]  # fmt: skip


def network_parameters(name: str, **changes: Any) -> NetworkParameters:
    """The shipped network of that name, without its weight file."""
    values = yaml.safe_load((ROOT / "config" / "networks" / f"{name}.yaml").read_text("utf-8"))
    return NetworkParameters.model_validate({**values, "weights": None, **changes})


def train_parameters(arguments: argparse.Namespace) -> TrainParameters:
    values = {
        "method": arguments.method,
        "steps": 1000,
        "batch": arguments.batch,
        "precision": arguments.precision,
    }
    return TrainParameters.model_validate(values)


def made_up_batch(arguments: argparse.Namespace, labelled: bool) -> Batch:
    width, height = arguments.size
    generator = torch.Generator().manual_seed(int(labelled))
    shape = (arguments.batch, 3, height, width)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.randint(
        arguments.classes, (shape[0], height, width), generator=generator, dtype=torch.uint8
    )
    return Batch(images, labels if labelled else None, tuple(map(str, range(arguments.batch))))


def build_step(form: str, arguments: argparse.Namespace) -> Callable[[], dict[str, float]]:
    """A training step of one form; calling it gives the values of its terms."""
    parameters = train_parameters(arguments)
    method = build_method(parameters.method, parameters.objective)
    with seeded_weights(0):
        network = construct(network_parameters(arguments.network), arguments.classes)
        modules = method.build_modules(network, arguments.classes)
    if form == "frozen":
        network.freeze_below(FROZEN_STRIDE)
    for module in (network, *modules.values()):
        module.train()
        if form != "plain":
            place(module, CPU)
    optimisers = build_optimisers(network, modules, parameters)
    runner = StepRunner(Learner(network, modules, method, parameters, seed=0), CPU)
    batch = {domain: made_up_batch(arguments, labelled=domain != "target") for domain in method.domains}

    def step() -> dict[str, float]:
        outcome = runner.run(0, batch)
        for optimiser in optimisers.values():
            optimiser.step()
        return {name: value.item() for name, value in outcome.values.items()}

    return step


def in_turn(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each function in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            if turn:
                seconds[name].append(time.process_time() - begin)
    return seconds


def ratios(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """How many times as long the plain form takes as each other one, by the medians."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {name: medians["plain"] / median for name, median in medians.items() if name != "plain"}


def compare_steps(arguments: argparse.Namespace) -> dict[str, Any]:
    forms = ("plain", "quick", "frozen")
    first = {form: build_step(form, arguments)() for form in forms}
    seconds = in_turn({form: build_step(form, arguments) for form in forms}, arguments.steps)
    found = ratios(seconds)
    print(f"{arguments.network}, {arguments.method}, {arguments.size[0]}x{arguments.size[1]}, batch "
          f"{arguments.batch}, {arguments.precision}, {arguments.threads} thread(s)")  # fmt: skip
    for form, ratio in found.items():
        print(f"{form}: {ratio:.2f} times as quick as plain; terms of the first step {first[form]}")
    return {"ratios": found, "seconds": seconds, "first_terms": first}


def layer_forms(layer: tuple[int, ...], arguments: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Forward and backward pass of one depthwise convolution, torch's and ours, on channels-last maps."""
    channels, kernel, stride, dilation, at = layer
    width, height = arguments.size
    dtype = getattr(torch, arguments.precision)
    images = torch.randn(arguments.batch, channels, height // at, width // at, dtype=dtype)
    images = images.to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(channels, 1, kernel, kernel, dtype=dtype, requires_grad=True)
    padding = dilation * (kernel // 2)
    geometry = Geometry((stride, stride), (padding, padding), (dilation, dilation), channels)
    seed = torch.ones_like(F.conv2d(images, weight, None, *geometry))
    return {
        "plain": lambda: F.conv2d(images, weight, None, *geometry).backward(seed),
        "quick": lambda: convolve(images, weight, None, geometry).backward(seed),
    }


def compare_layers(arguments: argparse.Namespace) -> dict[str, Any]:
    figures = {}
    for layer in LAYERS:
        channels, kernel, stride, dilation, at = layer
        name = f"{channels} channels, {kernel}x{kernel}, stride {stride}, dilation {dilation}, at 1/{at}"
        figures[name] = ratios(in_turn(layer_forms(layer, arguments), arguments.steps))["quick"]
        print(f"{name}: {figures[name]:.1f}")
    return {"ratios": figures}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="mobilenet-v2", help="file in config/networks/")
    parser.add_argument("--method", default="supervised", help="whose step is made")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), help="width and height")
    parser.add_argument("--batch", type=int, default=2, help="images of each domain")
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=15, help="counted rounds")
    parser.add_argument("--layers", action="store_true", help="compare layers instead of steps")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    figures = (compare_layers if arguments.layers else compare_steps)(arguments)
    OUT.parent.mkdir(exist_ok=True)
    write_json(OUT, {"settings": vars(arguments), "torch": torch.__version__, **figures})


if __name__ == "__main__":
    main()
