"""Time of up-sampling and of the cross-entropy on it, ours against the plain forms, side by side in one run.

    python benchmarks/upsampling.py                                           # 19 x 720 x 1280: a minute
    python benchmarks/upsampling.py --size 64 48 --grid 8 6 --rounds 2        # a second

Forward and backward pass of one image, in processor time, the forms in turn, each at its quickest round. Loss:
*plain* is softmax, logarithm and a gather on logits up-sampled by `F.interpolate`, *torch* the same with
`F.cross_entropy`, *ours* the fused form. Up-sampling alone: *torch* is `F.interpolate`, *decomposed* what torch
runs in its place on a GPU where kernels must be deterministic, *ours* two matrix products. Values and gradients are
compared with the plain loss in float64. Writes `benchmarks/out/upsampling.json`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._decomp import decompositions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.files import write_json
from pipeline.numerics.upsampled_cross_entropy import upsampled_cross_entropy_sum
from pipeline.numerics.upsampling import upsample

OUT = Path(__file__).resolve().parent / "out" / "upsampling.json"
IGNORE = 255

Form = Callable[[Tensor], Tensor]


def interpolated(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Torch's bilinear up-sampling."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)


def plain_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax, logarithm, the label's entry, summed over the labelled pixels."""
    size = (labels.shape[-2], labels.shape[-1])
    probability = torch.softmax(interpolated(logits, size), dim=1).log()
    labelled = labels != IGNORE
    chosen = probability.gather(1, labels.masked_fill(~labelled, 0)[:, None]).squeeze(1)
    return -(chosen * labelled).sum()


def torch_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The same with torch's own cross-entropy."""
    size = (labels.shape[-2], labels.shape[-1])
    return F.cross_entropy(interpolated(logits, size), labels, ignore_index=IGNORE, reduction="sum")


def loss_forms(labels: Tensor) -> dict[str, Form]:
    """Ways from logits to the loss."""
    return {
        "plain": lambda logits: plain_loss(logits, labels),
        "torch": lambda logits: torch_loss(logits, labels),
        "ours": lambda logits: upsampled_cross_entropy_sum(logits, labels, True)[0],
    }


def upsampling_forms(size: tuple[int, int], incoming: Tensor) -> dict[str, Form]:
    """Ways from logits to the sum of what they are up-sampled to, weighted by `incoming`."""
    ways: dict[str, Form] = {
        "torch": lambda logits: interpolated(logits, size),
        "decomposed": lambda logits: decompositions._upsample_linear_vec(logits, size, True, None),
        "ours": lambda logits: upsample(logits, size, True),
    }
    return {name: lambda logits, way=way: (way(logits) * incoming).sum() for name, way in ways.items()}


def run(form: Form, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient."""
    leaf = logits.clone().requires_grad_()
    value = form(leaf)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def milliseconds(forms: dict[str, Form], logits: Tensor, rounds: int) -> dict[str, float]:
    """The least processor time of each form, the forms in turn."""
    found = dict.fromkeys(forms, float("inf"))
    for _ in range(rounds):
        for name, form in forms.items():
            started = time.process_time()
            run(form, logits)
            found[name] = min(found[name], 1e3 * (time.process_time() - started))
    return found


def errors(forms: dict[str, Form], reference: Form, logits: Tensor) -> dict[str, float]:
    """Each form's largest deviation from the reference in float64: of the value and the gradient, relative."""
    value, gradient = run(reference, logits.double())
    found = {}
    for name, form in forms.items():
        own, pulled = run(form, logits)
        of_gradient = (pulled - gradient).abs().max() / gradient.abs().max()
        found[name] = max(abs(float(own / value) - 1), float(of_gradient))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=[1280, 720], metavar=("W", "H"), help="labels")
    parser.add_argument("--grid", type=int, nargs=2, default=[160, 90], metavar=("W", "H"), help="logits")
    parser.add_argument("--classes", type=int, default=19, help="number of classes")
    parser.add_argument("--rounds", type=int, default=10, help="times each form runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    size, classes = (arguments.size[1], arguments.size[0]), arguments.classes
    logits = 3 * torch.randn(1, classes, *reversed(arguments.grid), generator=generator)
    labels = torch.randint(0, classes, (1, *size), generator=generator)
    labels[torch.rand(1, *size, generator=generator) < 0.1] = IGNORE
    losses = loss_forms(labels)
    incoming = torch.rand(1, classes, *size, generator=generator)
    figures = {
        "loss_ms": milliseconds(losses, logits, arguments.rounds),
        "upsampling_ms": milliseconds(upsampling_forms(size, incoming), logits, arguments.rounds),
        "loss_error": errors(losses, losses["plain"], logits),
    }
    report(figures, arguments)


def report(figures: dict[str, dict[str, float]], arguments: argparse.Namespace) -> None:
    """Print the table and write the JSON file."""
    width, height = arguments.size
    print(f"{arguments.classes} x {height} x {width}, forward and backward, {arguments.threads} thread(s)")
    for title, values in figures.items():
        print(f"{title:16}" + "".join(f"{name:>12} {value:9.3g}" for name, value in values.items()))
    loss, alone = figures["loss_ms"], figures["upsampling_ms"]
    ratios = {
        "plain_over_ours": loss["plain"] / loss["ours"],
        "torch_over_ours": loss["torch"] / loss["ours"],
        "decomposed_over_ours": alone["decomposed"] / alone["ours"],
    }
    for name, value in ratios.items():
        print(f"{name}: {value:.1f}")
    OUT.parent.mkdir(exist_ok=True)
    write_json(
        OUT, {"settings": vars(arguments), "torch": torch.__version__, "figures": figures, "ratios": ratios}
    )


if __name__ == "__main__":
    main()
