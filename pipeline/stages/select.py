"""`select`: score a training stage's snapshots on unlabelled target images, and choose one without labels."""

from typing import Any

import pandas as pd

from pipeline.artifacts.files import write_text
from pipeline.inference.measures import SelectionMeasure
from pipeline.inference.passes import run_pass
from pipeline.inference.test_modes import Plain
from pipeline.numerics.selection import highest, information_maximisation, mean_entropy
from pipeline.stages.base import Job
from pipeline.stages.inputs import Chosen, cache_of, evenly_spaced, load_on_device, pass_settings
from pipeline.stages.parameters import SelectParameters
from pipeline.stages.snapshots import snapshot_path, snapshot_steps


def compute(job: Job[SelectParameters]) -> dict[str, Any]:
    """Write `selection.csv`: step, mean entropy and information maximisation of every snapshot."""
    cache = cache_of(job.caches("target")[0])
    names = evenly_spaced(list(cache.names), job.parameters.images)
    images = Chosen(cache.images, names)
    steps = snapshot_steps(job.parent("model"))
    rows = []
    for step in steps:
        network = load_on_device(job, snapshot_path(job.parent("model"), step))
        measure = SelectionMeasure(network.num_classes)
        sums = run_pass(measure, network, Plain(), images, pass_settings(job, f"step-{step}", step=step))
        rows.append((step, mean_entropy(sums), information_maximisation(sums)))
    table = pd.DataFrame(rows, columns=["step", "entropy", "information_maximisation"])
    write_text(job.out / "selection.csv", table.to_csv(index=False))
    chosen = highest(steps, table["information_maximisation"].tolist())
    return {"label_free": chosen, "images": len(names), "steps": steps}
