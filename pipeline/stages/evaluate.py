"""`evaluate`: confusion matrices of a model's snapshots on the labelled split, and the figures made of them.

`last` is the headline; `label_free` was chosen without target labels; `oracle_best` looked at them.
"""

import math
from typing import Any

import pandas as pd
from torch import Tensor

from pipeline.artifacts.files import write_json, write_text
from pipeline.data.cache import Cache
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.example_measure import WithExamples
from pipeline.inference.measures import ConfusionMeasure, Confusions
from pipeline.inference.passes import Measure, Result, run_pass
from pipeline.inference.test_modes import build_test_mode
from pipeline.numerics.confusion import image_figures, iou_table, percent
from pipeline.numerics.selection import oracle_best
from pipeline.stages.base import Job
from pipeline.stages.examples import SCORES, write_examples
from pipeline.stages.inputs import cache_of, load_on_device, pass_settings
from pipeline.stages.parameters import EvaluateParameters
from pipeline.stages.snapshots import snapshot_path, snapshot_steps


def figures(matrix: Tensor, taxonomy: Taxonomy) -> dict[str, Any]:
    """All figures of one confusion matrix, in percent with two decimals; None for an absent class."""
    subsets = {name: taxonomy.subset_ids(name) for name in taxonomy.subsets}
    table = iou_table(matrix, subsets)
    return {
        "miou_present": percent(table.miou_present),
        "miou_zero": percent(table.miou_zero),
        "absent_classes": table.absent,
        "pixel_accuracy": percent(table.pixel_accuracy),
        "iou": {name: percent(value) for name, value in zip(taxonomy.names, table.iou, strict=True)},
        "dice": {name: percent(value) for name, value in zip(taxonomy.names, table.dice, strict=True)},
        "subsets": {
            name: {
                "miou_present": percent(subset.present),
                "miou_zero": percent(subset.zero),
                "absent": subset.absent,
            }
            for name, subset in table.subsets.items()
        },
        "pixels": table.pixels,
    }


def matrix_csv(matrix: Tensor, taxonomy: Taxonomy) -> str:
    """A confusion matrix as CSV: rows are labels, columns predictions."""
    return pd.DataFrame(matrix.numpy(), index=list(taxonomy.names), columns=list(taxonomy.names)).to_csv(
        index_label="label"
    )


def compute(job: Job[EvaluateParameters]) -> dict[str, Any]:
    """Write `metrics.json`, `metrics.csv` and a confusion matrix per evaluated snapshot; of the last, single images."""
    data, taxonomy = cache_of(job.caches("data")[0]), job.taxonomy
    *earlier, last = snapshot_steps(job.parent("model"))
    whole = WithExamples(_measure(data, taxonomy), len(data))
    matrices = {
        step: _passed(job, _measure(data, taxonomy), data, step).matrix
        for step in (earlier if job.parameters.snapshots == "all" else [])
    }
    counted, answers = _passed(job, whole, data, last)
    write_examples(job.folder, data.names, answers, _scores(counted))
    found: dict[int, dict[str, Any]] = {}
    for step, matrix in {**matrices, last: counted.matrix}.items():
        write_text(job.out / f"confusion-{step:08d}.csv", matrix_csv(matrix, taxonomy))
        found[step] = figures(matrix, taxonomy)
    metrics = _metrics(job, found, len(data))
    write_json(job.out / "metrics.json", metrics)
    rows = [{"step": step, **_flat(values)} for step, values in found.items()]
    write_text(job.out / "metrics.csv", pd.DataFrame(rows).to_csv(index=False))
    headline = {key: metrics["last"][key] for key in ("step", "miou_present", "pixel_accuracy")}
    job.log.info("step %d: mIoU %s, pixel accuracy %s", *headline.values())
    return {"test_mode": job.parameters.test_mode, "last": headline}


def _measure(data: Cache, taxonomy: Taxonomy) -> ConfusionMeasure:
    assert data.labels is not None
    return ConfusionMeasure(data.labels, taxonomy.num_classes)


def _passed(job: Job[EvaluateParameters], measure: Measure[Result], data: Cache, step: int) -> Result:
    """The result of a pass of a snapshot over the split."""
    network = load_on_device(job, snapshot_path(job.parent("model"), step))
    mode = build_test_mode(job.parameters.test_mode)
    return run_pass(measure, network, mode, data.images, pass_settings(job, f"step-{step}", step=step))


def _scores(counted: Confusions) -> dict[str, list[float | None]]:
    """The figures of each image, in percent; None for one without a label."""
    columns = image_figures(counted.images.numpy())
    return {
        name: [percent(float(value)) for value in column]
        for name, column in zip(SCORES, columns, strict=True)
    }


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    row = {key: values[key] for key in ("miou_present", "miou_zero", "absent_classes", "pixel_accuracy")}
    row |= {f"iou_{name}": value for name, value in values["iou"].items()}
    return row | {f"subset_{name}": value["miou_present"] for name, value in values["subsets"].items()}


def _metrics(job: Job[EvaluateParameters], found: dict[int, dict[str, Any]], images: int) -> dict[str, Any]:
    steps = sorted(found)
    metrics: dict[str, Any] = {
        "test_mode": job.parameters.test_mode,
        "images": images,
        "last": {"step": steps[-1], **found[steps[-1]]},
    }
    if job.has_parent("select"):
        chosen = int(job.summary("select")["label_free"])
        metrics["label_free"] = {"step": chosen, **found[chosen]}
        scores = [found[step]["miou_present"] for step in steps]
        best = oracle_best(steps, [(-1.0 if score is None else score / 100.0) for score in scores])
        metrics["oracle_best"] = {"step": best, "selection": "oracle", **found[best]}
    assert not any(isinstance(value, float) and math.isnan(value) for value in metrics["last"].values())
    return metrics
