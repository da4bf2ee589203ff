"""`rank`: one pass of a model over target images; entropy, class presence and argmax map per image.

The share of easy images is not part of this stage, so that changing it passes no image through a network.
"""

from typing import Any

import pandas as pd

from pipeline.artifacts.files import write_text
from pipeline.inference.measures import EntropyMeasure, EntropyScores
from pipeline.inference.passes import run_pass
from pipeline.inference.test_modes import Plain
from pipeline.stages.base import StageRun
from pipeline.stages.inputs import (
    Chosen,
    cache_of,
    names_for,
    network_facts,
    network_of,
    pass_settings,
    taxonomy_of,
)
from pipeline.stages.maps import MapStore


def scores_table(names: list[str], scores: EntropyScores, classes: tuple[str, ...]) -> pd.DataFrame:
    """One row per image: `image`, `entropy` (H in [0, 1]), `entropy_code` (H / K, the released code's value), pixels."""
    table = pd.DataFrame(
        {"image": names, "entropy": scores.entropy, "entropy_code": scores.entropy / len(classes)}
    )
    for index, name in enumerate(classes):
        table[f"pixels_{name}"] = scores.pixels[:, index]
    return table


def compute(run: StageRun) -> dict[str, Any]:
    """Write `scores.csv` and the argmax maps (`labels-*`)."""
    taxonomy = taxonomy_of(run.parent("images"))
    names = names_for(run, "images")
    network, step = network_of(run, "model", run.parameters.snapshot)
    maps = MapStore(run.out, run.folder.state, names)
    measure = EntropyMeasure(names, taxonomy.num_classes, maps.open_part)
    images = Chosen(cache_of(run.parent("images")).images, names)
    scores = run_pass(measure, network, Plain(), images, pass_settings(run, "rank"))
    maps.finish()
    write_text(run.out / "scores.csv", scores_table(names, scores, taxonomy.names).to_csv(index=False))
    return {
        "images": len(names),
        "taxonomy": taxonomy.model_dump(mode="json"),
        "network": network_facts(run, "model", step),
        "mean_entropy": float(scores.entropy.mean()) if len(names) else None,
    }
