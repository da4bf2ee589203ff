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
from pipeline.stages.base import Job
from pipeline.stages.inputs import (
    Chosen,
    cache_of,
    names_for,
    network_facts,
    network_of,
    pass_settings,
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


class MapsOfChunk:
    """The argmax maps of one chunk of the pass, written as one file when the chunk ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.maps: dict[str, np.ndarray] = {}

    def add(self, name: str, array: np.ndarray) -> None:
        """Take the map of an image, uint8 (H, W)."""
        self.maps[name] = np.ascontiguousarray(array)

    def close(self) -> None:
        """Write the file; the pass counts the chunk as finished only afterwards."""
        write_bytes(self.path, safetensors.numpy.save(self.maps))


class MapStore:
    """Keeps the argmax maps of a pass chunk by chunk in `state`, then publishes them as records in `folder`."""

    def __init__(self, folder: Path, state: Path, names: list[str]) -> None:
        self.folder, self.state, self.names = folder, state, names
        self.chunks = state / "maps"

    def open_chunk(self, start: int) -> MapsOfChunk:
        """The maps of the chunk that begins at image `start`; an earlier file of it is replaced."""
        return MapsOfChunk(self.chunks / f"chunk-{start:08d}.safetensors")

    def finish(self) -> None:
        """Write the records in the order of the names."""
        places: dict[str, Path] = {}
        for path in sorted(self.chunks.glob("chunk-*.safetensors")):
            with safetensors.safe_open(path, "numpy") as file:
                places |= dict.fromkeys(file.keys(), path)
        writer = RecordWriter(self.folder, "labels", self.state / "records", self.names)
        for shard in writer.missing_shards():
            names = writer.shard_names(shard)
            writer.write_shard(shard, (_map_in(places[name], name) for name in names))
        writer.finish()


def _map_in(path: Path, name: str) -> np.ndarray:
    with safetensors.safe_open(path, "numpy") as file:
        label: np.ndarray = file.get_tensor(name)
    return label


def compute(job: Job[RankParameters]) -> dict[str, Any]:
    """Write `scores.csv` and the argmax maps (`labels-*`)."""
    taxonomy = job.taxonomy
    names = names_for(job, "images")
    network, step = network_of(job, "model", job.parameters.snapshot)
    maps = MapStore(job.out, job.folder.state, names)
    measure = EntropyMeasure(names, taxonomy.num_classes, maps.open_chunk)
    images = Chosen(cache_of(job.caches("images")[0]).images, names)
    scores = run_pass(measure, network, Plain(), images, pass_settings(job, "entropy"))
    maps.finish()
    write_text(job.out / "scores.csv", scores_table(names, scores, taxonomy.names).to_csv(index=False))
    return {
        "images": len(names),
        "network": network_facts(job, "model", step),
        "mean_entropy": float(scores.entropy.mean()) if len(names) else None,
    }
