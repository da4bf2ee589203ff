"""`predict`: a folder of pictures in, id PNGs and colored overlays out; the same command goes on after a stop.

python -m pipeline predict --model results/experiments/demo/seed0/model --images PHOTOS --out PREDICTIONS
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pipeline.artifacts.control import Control
from pipeline.artifacts.errors import ConfigError, Interrupted
from pipeline.artifacts.files import check_writable

if TYPE_CHECKING:
    from pipeline.inference.folder_prediction import Summary

LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the folder `model` of an experiment's seed, or a file of `export` that ends in .onnx",
    )
    parser.add_argument(
        "--images", type=Path, required=True, metavar="FOLDER", help="pictures, subfolders included"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="ids/ and overlay/ are made in it"
    )
    parser.add_argument("--confidence", action="store_true", help="also the winner's probability, 0 to 255")
    parser.add_argument("--entropy", action="store_true", help="also the entropy, 0 certain to 255 uniform")
    parser.add_argument(
        "--prune", action="store_true", help="remove maps of pictures that are not there any more"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N; .onnx: cpu")


def execute(arguments: argparse.Namespace) -> int:
    """Predict; exit code 0, 1 when not one picture could be predicted, 75 when stopped before the end."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline.inference.folder_prediction import BAD, Wanted, predict_folder
    from pipeline.inference.prediction import load_model
    from pipeline.training.devices import choose_device
    from pipeline.training.interruption import Interruption

    check_writable([arguments.out])
    if arguments.model.suffix == ".onnx" and arguments.device not in ("auto", "cpu"):
        raise ConfigError(f"--device {arguments.device}: ONNX files are run on the CPU; use the model folder")
    model = load_model(arguments.model, choose_device(arguments.device))
    wanted = Wanted(confidence=arguments.confidence, entropy=arguments.entropy)
    # Who starts this in the background may log out: a parent that has gone is no reason to stop here.
    with Interruption(parent=lambda: 0) as interruption, _Bar() as bar:
        try:
            summary = predict_folder(
                model,
                arguments.images,
                arguments.out,
                wanted,
                Control(interruption.reason, bar.show),
                arguments.prune,
            )
        except Interrupted as stop:
            print(f"stopped ({stop}); the same command goes on from there", file=sys.stderr)
            return Interrupted.EXIT_CODE
    done = summary.predicted + summary.finished_before
    before = f" ({summary.finished_before} of them before)" if summary.finished_before else ""
    print(f"{done} pictures predicted{before} into {arguments.out}: {', '.join(sorted(wanted.kinds()))}")
    if summary.bad:
        print(
            f"{len(summary.bad)} could not be predicted; all of them in {arguments.out / BAD}:",
            file=sys.stderr,
        )
        for name, reason in summary.bad[:LISTED]:
            print(f"  {name}: {reason}", file=sys.stderr)
    _print_rest(summary, arguments.out, arguments.prune)
    return 0 if done else 1


def _print_rest(summary: "Summary", out: Path, prune: bool) -> None:
    """Say which files were left out, and which maps belong to no picture."""
    for line in summary.omissions:
        print(line, file=sys.stderr)
    if summary.stale:
        what = "removed" if prune else "there, and --prune removes them"
        some = ", ".join(summary.stale[:LISTED]) + ", ..." * (len(summary.stale) > LISTED)
        print(
            f"maps in {out} that belong to no picture any more ({what}): {len(summary.stale)}: {some}",
            file=sys.stderr,
        )


class _Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __enter__(self) -> "_Bar":
        self._bar: tqdm = tqdm(unit="picture", disable=None, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: int, total: int) -> None:
        """Show `done` of `total` pictures."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)
