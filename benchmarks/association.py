"""Peak memory and time of PLCA's associations, streamed against dense, side by side in one run.

    python benchmarks/association.py                            # 92x92, 2048 channels, 2 images: minutes
    python benchmarks/association.py --side 32 --channels 256   # seconds

Each form runs in its own process, timed in processor seconds: forward and backward pass of both associations
(features by cosine, predictions by KL, target aggregated first) over a group of images, as one training step of
PLCA does. Peak memory is the process's largest resident set beyond what it held when its inputs lay ready. It
includes the gradients of the inputs, which are as large as the inputs and which both forms must return. The dense
form keeps every N x N matrix, the streamed form none. Writes `benchmarks/out/association.json`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.files import write_json
from pipeline.numerics.aggregation import aggregate_cosine, aggregate_kl
from pipeline.numerics.association import Metric, cycle_association, pooled_mean

OUT = Path(__file__).resolve().parent / "out" / "association.json"
CLASSES = 19
SHARE = 0.5
MIB = 2**20

Association = Callable[[list[Tensor], list[Tensor], Tensor, Metric], Tensor]


def dense_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Contrast-normalised row softmax of an affinity that is held whole."""
    affinity = queries @ keys.T
    with torch.no_grad():
        mean, deviation = affinity.mean(1, keepdim=True), affinity.std(1, keepdim=True)
    return torch.softmax((affinity - mean) / (deviation + 1e-10), dim=1)


def dense_pair(source: Tensor, target: Tensor, labels: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Sum and number of closed cycles of rows (N, C), from the definition."""
    if metric == "cos":
        unit = torch.nn.functional.normalize(target, dim=1)
        target = torch.lerp(target, dense_weights(unit, unit) @ target, SHARE)
        a, b = (torch.nn.functional.normalize(rows, dim=1) for rows in (source, target))
        there, back = dense_weights(a, b), dense_weights(b, a)
    else:
        weights = torch.softmax(target @ (target + 1e-10).log().T, dim=1)
        target = torch.lerp(target, weights @ target, SHARE)
        there = dense_weights(source, (target + 1e-10).log())
        back = dense_weights(target, (source + 1e-10).log())
    p, j = there.max(dim=1)
    q, i = back.max(dim=1)
    closed = (labels[i[j]] == labels) & (labels != 255)
    return -((p * q[j]).log() * closed).sum(), closed.sum()


def dense(sources: list[Tensor], targets: list[Tensor], labels: Tensor, metric: Metric) -> Tensor:
    """Pooled mean cost per closed cycle, dense."""
    pairs = [dense_pair(s, t, y, metric) for s, t, y in zip(sources, targets, labels, strict=True)]
    return torch.stack([total for total, _ in pairs]).sum() / torch.stack([n for _, n in pairs]).sum()


def streamed(sources: list[Tensor], targets: list[Tensor], labels: Tensor, metric: Metric) -> Tensor:
    """Pooled mean cost per closed cycle, streamed in blocks."""
    aggregate = aggregate_cosine if metric == "cos" else aggregate_kl
    return pooled_mean(
        [
            cycle_association(s, aggregate(t, SHARE), y, metric)
            for s, t, y in zip(sources, targets, labels, strict=True)
        ]
    )


def make_maps(images: int, channels: int, side: int, classes_of: Tensor, seed: int) -> Tensor:
    """Maps (B, C, h, w) in which a class has a direction, so that some cycles close."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, channels, generator=torch.Generator().manual_seed(0))
    maps = torch.randn(images, channels, side, side, generator=generator)
    for image, classes in zip(maps, classes_of, strict=True):
        image.mul_(2.0).add_(centres[classes].T.reshape(image.shape))
    return maps.requires_grad_()


def resident() -> int:
    """Bytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def warm_up(loss_of: Association) -> None:
    """Load the libraries' code pages, which belong to neither form."""
    maps = [[torch.rand(64, 8, requires_grad=True)] for _ in range(2)]
    loss_of(maps[0], maps[1], torch.zeros(1, 64, dtype=torch.int64), "cos").backward()


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Run one form in this process."""
    torch.set_num_threads(arguments.threads)
    loss_of = dense if arguments.form == "dense" else streamed
    positions = arguments.side**2
    labels, of_target = torch.randint(
        CLASSES, (2, arguments.images, positions), generator=torch.Generator().manual_seed(3)
    )
    shape = (arguments.images, arguments.side)
    warm_up(loss_of)
    features = [
        make_maps(shape[0], arguments.channels, shape[1], y, k) for k, y in enumerate((labels, of_target))
    ]
    logits = [make_maps(shape[0], CLASSES, shape[1], y, k) for k, y in enumerate((labels, of_target))]
    before = resident()
    started = time.process_time()
    rows: list[list[list[Tensor]]] = [
        [[image.flatten(1).T for image in maps.unbind()] for maps in features],
        [[image.flatten(1).T for image in maps.softmax(dim=1).unbind()] for maps in logits],
    ]
    by_feature = loss_of(*rows[0], labels, "cos")
    by_prediction = loss_of(*rows[1], labels, "kl")
    forward = time.process_time() - started
    (by_feature + by_prediction).backward()
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    gradient = torch.cat(
        [maps.grad.norm().reshape(1) for maps in (*features, *logits) if maps.grad is not None]
    )
    return {
        "feature_loss": by_feature.item(),
        "prediction_loss": by_prediction.item(),
        "gradient_norm": gradient.norm().item(),
        "inputs_mib": sum(maps.numel() * maps.element_size() for maps in (*features, *logits)) / MIB,
        "peak_mib": (peak - before) / MIB,
        "forward_seconds": forward,
        "seconds": seconds,
    }


def run_apart(form: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one form in a process of its own and read its figures."""
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in vars(arguments).items() if name != "form"
    ]
    command = [sys.executable, __file__, f"--form={form}", *options]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(arguments.threads),
        # glibc gives freed memory back at once, so that the peak is what was alive, not what was kept for later.
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=92, help="grid of side x side positions")
    parser.add_argument("--channels", type=int, default=2048, help="channels of the features")
    parser.add_argument("--images", type=int, default=2, help="image pairs that are pooled")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--form", choices=["both", "dense", "streamed"], default="both", help="both: compare")
    arguments = parser.parse_args()
    if arguments.form != "both":
        print(json.dumps(measure(arguments)))
        return
    figures = {form: run_apart(form, arguments) for form in ("dense", "streamed")}
    report(figures, arguments)


def report(figures: dict[str, dict[str, float]], arguments: argparse.Namespace) -> None:
    """Print the table and write the JSON file."""
    print(f"{arguments.side}x{arguments.side} grid, {arguments.channels} channels, {arguments.images} pairs, "
          f"{arguments.threads} thread(s); inputs {figures['dense']['inputs_mib']:.0f} MiB")  # fmt: skip
    columns = ("peak_mib", "forward_seconds", "seconds", "feature_loss", "prediction_loss", "gradient_norm")
    print(f"{'':10}" + "".join(f"{name:>17}" for name in columns))
    for form, values in figures.items():
        print(f"{form:10}" + "".join(f"{values[name]:17.6g}" for name in columns))
    ratio = figures["streamed"]["peak_mib"] / figures["dense"]["peak_mib"]
    gradients = figures["dense"]["inputs_mib"]
    own = [figures[form]["peak_mib"] - gradients for form in ("streamed", "dense")]
    print(f"peak memory, streamed / dense: {ratio:.3f}; beyond the inputs' gradients: {own[0] / own[1]:.3f}")
    settings = {name: value for name, value in vars(arguments).items() if name != "form"}
    OUT.parent.mkdir(exist_ok=True)
    write_json(
        OUT, {"settings": settings, "torch": torch.__version__, "figures": figures, "memory_ratio": ratio}
    )


if __name__ == "__main__":
    main()
