"""`select`: score a training stage's snapshots on unlabelled target images, and choose one without labels."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from pipeline.artifacts.files import write_text
from pipeline.inference.example_measure import WithExamples
from pipeline.inference.measures import SelectionMeasure
from pipeline.inference.passes import Measure, Result, run_pass
from pipeline.inference.test_modes import Plain
from pipeline.numerics.selection import PredictionSums, highest, information_maximisation, mean_entropy
from pipeline.numerics.spacing import evenly_spaced
from pipeline.stages.base import Job
from pipeline.stages.examples import write_examples
from pipeline.stages.inputs import Chosen, cache_of, load_on_device, pass_settings
from pipeline.stages.parameters import SelectParameters
from pipeline.stages.snapshots import snapshot_path, snapshot_steps


def compute(job: Job[SelectParameters]) -> dict[str, Any]:
    """Write `selection.csv`: step, mean entropy and information maximisation of every snapshot; of the last, images."""
    cache = cache_of(job.caches("target")[0])
    names = evenly_spaced(list(cache.names), job.parameters.images)
    images = Chosen(cache.images, names)
    *earlier, last = snapshot_steps(job.parent("model"))
    sums = {step: _passed(job, SelectionMeasure, images, step) for step in earlier}

    def whole(classes: int) -> WithExamples[PredictionSums]:
        return WithExamples(SelectionMeasure(classes), len(names))

    sums[last], answers = _passed(job, whole, images, last)
    write_examples(job.folder, names, answers)
    rows = [(step, mean_entropy(one), information_maximisation(one)) for step, one in sums.items()]
    table = pd.DataFrame(rows, columns=["step", "entropy", "information_maximisation"])
    write_text(job.out / "selection.csv", table.to_csv(index=False))
    chosen = highest(list(sums), table["information_maximisation"].tolist())
    return {"label_free": chosen, "images": len(names), "steps": list(sums)}


def _passed(
    job: Job[SelectParameters], measure_of: Callable[[int], Measure[Result]], images: Chosen, step: int
) -> Result:
    """The result of a pass of a snapshot over the images; `measure_of` makes the measure for so many classes."""
    network = load_on_device(job, snapshot_path(job.parent("model"), step))
    settings = pass_settings(job, f"step-{step}", step=step)
    return run_pass(measure_of(network.num_classes), network, Plain(), images, settings)
