"""Golden numbers per stage kind, tied to its VERSION: a kind that computes something else needs a new one.

When a number here moves on purpose, raise the kind's version in `pipeline/stages/kinds.py` and write the new
numbers with `python tests/workflow/test_golden.py FOLDER`, FOLDER being that of a run of the tiny experiment.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline.stages.kinds import KINDS

GOLDEN = Path(__file__).with_name("golden.json")


def one(folder: Path, pattern: str) -> Path:
    """The only file of that pattern below the results."""
    (path,) = sorted(folder.glob(f"results/{pattern}"))
    return path


def measured(folder: Path) -> dict[str, dict[str, float]]:
    """A few telling numbers of every stage kind."""
    prepared = json.loads(one(folder, "prepare/prepare-streets-rendered-train-*/statistics.json").read_text())
    source = pd.read_csv(one(folder, "pretrain/*/metrics.csv")).iloc[-1]
    scores = pd.read_csv(one(folder, "rank/*/scores.csv"))
    split = pd.read_csv(one(folder, "split/*/split.csv"))
    labels = json.loads(one(folder, "pseudolabel/*/statistics.json").read_text())
    step = len(pd.read_csv(one(folder, "pretrain/*/metrics.csv")))
    supervised = [
        path.parent
        for path in folder.glob("results/select/*/artifact.json")
        if json.loads(path.read_text())["parents"]["model"]["key"].startswith("supervised")
    ]
    selection = pd.read_csv(supervised[0] / "selection.csv").iloc[-1]
    evaluated = [
        json.loads((path.parent / "metrics.json").read_text())
        for path in folder.glob("results/evaluate/*/artifact.json")
        if json.loads(path.read_text())["parents"]["model"]["key"].startswith("supervised")
    ]
    return {
        "prepare": {"road": prepared["class_pixels"][3], "sky": prepared["class_pixels"][0]},
        "train": {"steps": step, "segmentation": float(source["segmentation"]), **adapted(folder)},
        "rank": {"entropy": float(scores["entropy"].mean()), "road": int(scores["pixels_road"].sum())},
        "split": {"easy": int((split["split"] == "easy").sum()), "lowest": float(split["score"].iloc[0])},
        "pseudolabel": {"road": labels["pixels"]["road"], "ignored": labels["ignored"]},
        "select": {name: float(selection[name]) for name in ("entropy", "information_maximisation")},
        "evaluate": {"pixel_accuracy": evaluated[0]["last"]["pixel_accuracy"]},
    }


def adapted(folder: Path) -> dict[str, float]:
    """The last row of the intra step: the stage that trains on pseudo-labels."""
    for path in sorted(folder.glob("results/adapt/*/artifact.json")):
        if "source_labels" in json.loads(path.read_text())["parents"]:
            row = pd.read_csv(path.parent / "metrics.csv").iloc[-1]
            return {
                f"intra_{name}": float(row[name])
                for name in ("segmentation", "adversarial", "discriminator_main")
            }
    raise AssertionError("no stage trained on pseudo-labels")


@pytest.mark.parametrize("kind", ["prepare", "train", "rank", "split", "pseudolabel", "select", "evaluate"])
def test_a_kind_computes_what_its_version_says(reference, kind):
    golden = json.loads(GOLDEN.read_text())[kind]
    assert golden["version"] == KINDS[kind].version, (
        "a new version: write its golden numbers (see the module)"
    )
    # Kernels of another processor round differently; three steps of training magnify that a little.
    assert measured(reference)[kind] == pytest.approx(golden["numbers"], rel=2e-2, abs=1e-4)


if __name__ == "__main__":
    numbers = measured(Path(sys.argv[1]))
    content = {kind: {"version": KINDS[kind].version, "numbers": values} for kind, values in numbers.items()}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
