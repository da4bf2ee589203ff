"""`rank`: one pass of a model over target images; entropy, class presence and argmax map per image.

The share of easy images is not part of this stage, so that changing it passes no image through a network.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy

from pipeline.artifacts.files import write_bytes, write_text
from pipeline.data.records import RecordWriter
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
    taxonomy_for,
)
from pipeline.stages.parameters import RankParameters


def scores_table(names: list[str], scores: EntropyScores, classes: tuple[str, ...]) -> pd.DataFrame:
    """One row per image: `image`, `entropy` (H in [0, 1]), `entropy_code` (H / K, the released code's value), pixels."""
    table = pd.DataFrame(
        {"image": names, "entropy": scores.entropy, "entropy_code": scores.entropy / len(classes)}
    )
    for index, name in enumerate(classes):
        table[f"pixels_{name}"] = scores.pixels[:, index]
    return table


class MapsOfPart:
    """The argmax maps of one part of the pass, written as one file when the part ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.maps: dict[str, np.ndarray] = {}

    def add(self, name: str, array: np.ndarray) -> None:
        """Take the map of an image, uint8 (H, W)."""
        self.maps[name] = np.ascontiguousarray(array)

    def close(self) -> None:
        """Write the file; the pass counts the part as finished only afterwards."""
        write_bytes(self.path, safetensors.numpy.save(self.maps))


class MapStore:
    """Keeps the argmax maps of a pass part by part in `state`, then publishes them as records in `folder`."""

    def __init__(self, folder: Path, state: Path, names: list[str]) -> None:
        self.folder, self.state, self.names = folder, state, names
        self.parts = state / "maps"

    def open_part(self, start: int) -> MapsOfPart:
        """The maps of the part that begins at image `start`; an earlier file of it is replaced."""
        return MapsOfPart(self.parts / f"part-{start:08d}.safetensors")

    def finish(self) -> None:
        """Write the records in the order of the names."""
        places: dict[str, Path] = {}
        for path in sorted(self.parts.glob("part-*.safetensors")):
            with safetensors.safe_open(path, "numpy") as file:
                places |= dict.fromkeys(file.keys(), path)
        writer = RecordWriter(self.folder, "labels", self.state / "records", self.names)
        for part in writer.missing_parts():
            names = writer.part_names(part)
            writer.write_part(part, (_map_in(places[name], name) for name in names))
        writer.finish()


def _map_in(path: Path, name: str) -> np.ndarray:
    with safetensors.safe_open(path, "numpy") as file:
        label: np.ndarray = file.get_tensor(name)
    return label


def compute(run: StageRun[RankParameters]) -> dict[str, Any]:
    """Write `scores.csv` and the argmax maps (`labels-*`)."""
    taxonomy = taxonomy_for(run, "images")
    names = names_for(run, "images")
    network, step = network_of(run, "model", run.parameters.snapshot)
    maps = MapStore(run.out, run.folder.state, names)
    measure = EntropyMeasure(names, taxonomy.num_classes, maps.open_part)
    images = Chosen(cache_of(run.caches("images")[0]).images, names)
    scores = run_pass(measure, network, Plain(), images, pass_settings(run, "entropy"))
    maps.finish()
    write_text(run.out / "scores.csv", scores_table(names, scores, taxonomy.names).to_csv(index=False))
    return {
        "images": len(names),
        "taxonomy": taxonomy.model_dump(mode="json"),
        "network": network_facts(run, "model", step),
        "mean_entropy": float(scores.entropy.mean()) if len(names) else None,
    }
