"""Time from a network's logits to confusion matrix, scores and thresholds, ours against plain NumPy loops.

    python benchmarks/evaluation.py                                          # 2048x1024, 19 classes: minutes
    python benchmarks/evaluation.py --size 64 32 --grid 9 5 --rounds 2       # a second

Everything after the forward pass, one image, in processor time, the forms in turn, each at its quickest round.
Evaluation: the NumPy loop takes the softmax of the logits, up-samples it with torch, and leaves argmax and
`bincount` over the labelled pixels to NumPy; ours is the measure of the `evaluate` stage. Ranking: entropy and argmax
map. Thresholds: one histogram pass; in place of it the loop collects each class's scores. Matrices and maps of both
forms are compared. Writes `benchmarks/out/evaluation.json`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.files import write_json
from pipeline.inference.example_measure import WithExamples
from pipeline.inference.measures import ConfusionMeasure, EntropyMeasure
from pipeline.inference.test_modes import Logits, Plain
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.thresholds import BINS, ThresholdRule, count_high
from pipeline.numerics.winner import winner

OUT = Path(__file__).resolve().parent / "out" / "evaluation.json"
IGNORE = 255


class Plainly:
    """NumPy loops as evaluation scripts have them, for one image."""

    def __init__(self, grid: Tensor, label: np.ndarray) -> None:
        self.grid, self.label, self.classes = grid, label, grid.shape[1]

    def probabilities(self) -> np.ndarray:
        """Up-sampled softmax, (K, H, W)."""
        probability = torch.softmax(self.grid, dim=1)
        return F.interpolate(probability, self.label.shape, mode="bilinear", align_corners=True)[0].numpy()

    def confusion(self) -> np.ndarray:
        """Matrix over the labelled pixels."""
        guess = np.argmax(self.probabilities(), axis=0)
        labelled = self.label < self.classes
        cells = self.classes * self.label[labelled].astype(int) + guess[labelled]
        return np.bincount(cells, minlength=self.classes**2).reshape(self.classes, self.classes)

    def ranking(self) -> tuple[float, np.ndarray]:
        """Mean entropy and argmax map."""
        probability = self.probabilities()
        entropy = -(probability * np.log(probability + 1e-30)).sum(axis=0) / np.log(self.classes)
        return float(entropy.mean()), np.argmax(probability, axis=0)

    def collected(self) -> list[np.ndarray]:
        """Best scores by class."""
        probability = self.probabilities()
        guess, best = np.argmax(probability, axis=0), np.amax(probability, axis=0)
        return [best[guess == index] for index in range(self.classes)]


class Ours:
    """The measures of the stages, for one image."""

    def __init__(self, grid: Tensor, label: np.ndarray) -> None:
        network = build_network(NetworkParameters(backbone="small", align_corners=True), grid.shape[1], 0)
        size = (label.shape[0], label.shape[1])
        self.logits = Logits(Plain(), network, [grid], size, size)
        self.label, self.classes = label, grid.shape[1]
        self.rule = ThresholdRule(self.classes, 0.2)
        self.table = torch.zeros(self.classes, BINS, dtype=torch.int64)

    def measured(self, measure: Any) -> dict[str, Tensor]:
        """A part of one image."""
        measure.begin(0)
        measure.add([0], [measure.load(0)], self.logits)
        result: dict[str, Tensor] = measure.end()
        return result

    def confusion(self) -> np.ndarray:
        """Matrix over the labelled pixels."""
        measure = WithExamples(ConfusionMeasure([self.label], self.classes), 1)
        return self.measured(measure)["confusion"].numpy()

    def ranking(self) -> tuple[float, np.ndarray]:
        """Mean entropy and argmax map."""
        maps = _Maps()
        found = self.measured(EntropyMeasure(["image"], self.classes, lambda start: maps))
        return float(found["entropy"]), maps.found

    def collected(self) -> Tensor:
        """Histogram of the best scores by class."""
        strips = [winner(torch.softmax(strip[0], dim=0)) for _, strip in self.logits.strips()]
        best, label = (torch.cat(column) for column in zip(*strips, strict=True))
        count_high(self.table, best, label, self.rule)
        return self.table


class _Maps:
    """Takes the label map of the one image."""

    def add(self, name: str, array: np.ndarray) -> None:
        """Keep it."""
        self.found = array

    def close(self) -> None:
        """Need nothing."""


def milliseconds(forms: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least processor time of each form, the forms in turn."""
    found = dict.fromkeys(forms, float("inf"))
    for _ in range(rounds):
        for name, form in forms.items():
            started = time.process_time()
            form()
            found[name] = min(found[name], 1e3 * (time.process_time() - started))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=[2048, 1024], metavar=("W", "H"), help="labels")
    parser.add_argument("--grid", type=int, nargs=2, default=[129, 65], metavar=("W", "H"), help="logits")
    parser.add_argument("--classes", type=int, default=19, help="number of classes")
    parser.add_argument("--rounds", type=int, default=10, help="times each form runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    width, height = arguments.size
    random = np.random.default_rng(0)
    label = random.integers(0, arguments.classes, (height, width)).astype(np.uint8)
    label[random.random((height, width)) < 0.1] = IGNORE
    generator = torch.Generator().manual_seed(0)
    grid = 3 * torch.randn(1, arguments.classes, *reversed(arguments.grid), generator=generator)
    plain, ours = Plainly(grid, label), Ours(grid, label)
    with torch.inference_mode():
        figures = {
            what: milliseconds({"numpy": getattr(plain, what), "ours": getattr(ours, what)}, arguments.rounds)
            for what in ("confusion", "ranking", "collected")
        }
        # The loop up-samples probabilities, we logits: an argmax differs where two classes are nearly alike.
        other = float((plain.ranking()[1] != ours.ranking()[1]).mean())
    report(figures, other, arguments)


def report(figures: dict[str, dict[str, float]], other: float, arguments: argparse.Namespace) -> None:
    """Print the table and write the JSON file."""
    width, height = arguments.size
    print(
        f"{arguments.classes} classes, {width}x{height}, one image, {arguments.threads} thread(s), milliseconds"
    )
    ratios = {}
    for what, values in figures.items():
        ratios[what] = values["numpy"] / values["ours"]
        print(f"{what:12} numpy {values['numpy']:8.1f}  ours {values['ours']:8.1f}  ratio {ratios[what]:.1f}")
    print(f"pixels of another class: {other:.4f}")
    OUT.parent.mkdir(exist_ok=True)
    found = {"figures": figures, "ratios": ratios, "other_classes": other}
    write_json(OUT, {"settings": vars(arguments), "torch": torch.__version__, **found})


if __name__ == "__main__":
    main()
