"""`suggest`: the target images most worth labelling, hardest by the ranking and unlike each other by the model.

Hardness is the ranking's entropy; likeness is the distance between pooled feature vectors of the network that
made the ranking. Images that the model already had labels of are not suggested again; their vectors count as
chosen. `docs/methods/ass.md` has the rule.
"""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import write_bytes, write_text
from pipeline.data.records import Records
from pipeline.datasets.name_lists import list_text
from pipeline.inference.features import EntropyMaps, PooledFeatures, VectorMeasure
from pipeline.inference.overlays import color_values, contact_sheet, fit, overlay
from pipeline.inference.passes import run_pass
from pipeline.inference.test_modes import Plain
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics.diversity import distance_to_nearest, k_center_greedy
from pipeline.stages.base import Job
from pipeline.stages.inputs import (
    Chosen,
    cache_of,
    load_on_device,
    network_used,
    pass_settings,
    pseudo_labels_of,
)
from pipeline.stages.parameters import SuggestParameters
from pipeline.stages.snapshots import snapshot_path

LIST, TABLE, SHEET = "suggested.txt", "suggested.csv", "suggested.png"
TILE = (180, 240)
"""Height and width in pixels of a picture on the contact sheet."""
IMAGES_PER_ROW = 2
TIES = 0
"""Seed of the permutation that settles equal candidates."""


@dataclass(frozen=True)
class Candidates:
    """Images that may be suggested, hardest first, and those with labels; `entropy` is of the former."""

    names: list[str]
    entropy: np.ndarray
    labelled: list[str]


def candidates_of(scores: pd.DataFrame, labelled: list[str], share: float, count: int) -> Candidates:
    """Keep the hardest `share` of the images without labels, `count` of them at least.

    `scores`: the ranking's table with columns `image` and `entropy`. Equal entropies are ordered by name.
    DataError: fewer than `count` images are left.
    """
    free = scores[~scores["image"].isin(labelled)]
    if len(free) < count:
        raise DataError(
            f"count {count}: the ranking has {len(scores)} images, {len(free)} of them without labels; ask for fewer"
        )
    kept = max(count, math.ceil(len(free) * share))
    hardest = free.sort_values(["entropy", "image"], ascending=[False, True]).head(kept)
    ranked = set(scores["image"])
    return Candidates(
        [str(name) for name in hardest["image"]],
        hardest["entropy"].to_numpy(dtype=np.float64),
        [name for name in labelled if name in ranked],
    )


def suggestion_table(candidates: Candidates, vectors: np.ndarray, count: int) -> pd.DataFrame:
    """Choose `count` candidates by greedy k-center; one row each, in the order of choice.

    `vectors`: (candidates + labelled, C), in that order. Columns: `name`, `entropy`, `order` from 1, and
    `distance`, that to the nearest image with labels or chosen before; none for the first of all.
    """
    points, centres = np.split(vectors.astype(np.float64), [len(candidates.names)])
    chosen = k_center_greedy(points, count, candidates.entropy, TIES, centres)
    rows = []
    for order, index in enumerate(chosen):
        before = np.concatenate([centres, points[chosen[:order]]])
        distance = float(distance_to_nearest(points[[index]], before)[0])
        known = distance if math.isfinite(distance) else None
        rows.append((candidates.names[index], float(candidates.entropy[index]), order + 1, known))
    return pd.DataFrame(rows, columns=["name", "entropy", "order", "distance"])


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    """The image at the size of a tile with a line of text on it."""
    picture = Image.fromarray(fit(image, TILE))
    draw = ImageDraw.Draw(picture)
    draw.rectangle(draw.textbbox((3, 1), text), fill=(255, 255, 255))
    draw.text((3, 1), text, fill=(0, 0, 0))
    return np.asarray(picture)


def contact_sheet_of(
    job: Job[SuggestParameters], network: SegmentationNetwork, names: list[str], predicted: Records
) -> bytes:
    """PNG of the images in the order of choice: the image, the predicted classes over it, its entropy."""
    images = Chosen(cache_of(job.caches("images")[0]).images, names)
    measure = EntropyMaps()
    entropy = run_pass(measure, network, Plain(), images, pass_settings(job, "sheet"))
    palette = job.taxonomy.palette()
    tiles = []
    for place, name in enumerate(names):
        image, ids = np.asarray(images[place]), np.asarray(predicted[predicted.index_of(name)])
        shown = _captioned(image, f"{place + 1}  {name}")
        tiles.append([shown, overlay(image, ids, palette), color_values(entropy[place])])
    rows = [
        [tile for group in tiles[start : start + IMAGES_PER_ROW] for tile in group]
        for start in range(0, len(tiles), IMAGES_PER_ROW)
    ]
    stream = io.BytesIO()
    Image.fromarray(contact_sheet(rows, TILE)).save(stream, "png")
    return stream.getvalue()


def compute(job: Job[SuggestParameters]) -> dict[str, Any]:
    """Write `suggested.txt` (one name per line), `suggested.csv` and `suggested.png`."""
    ranking, count = job.parent("ranking"), job.parameters.count
    used = network_used(job, "ranking")
    scores = pd.read_csv(ranking.path / "scores.csv", dtype={"image": str}, keep_default_na=False)
    caches = [cache_of(folder) for folder in job.caches("labelled")]
    labelled = sorted({name for cache in caches for name in cache.names})
    candidates = candidates_of(scores, labelled, job.parameters.candidates, count)
    network = load_on_device(job, snapshot_path(job.parent("model"), used.step))
    images = Chosen(cache_of(job.caches("images")[0]).images, [*candidates.names, *candidates.labelled])
    vectors = run_pass(VectorMeasure(), network, PooledFeatures(), images, pass_settings(job, "vectors"))
    table = suggestion_table(candidates, vectors, count)
    names = [str(name) for name in table["name"]]
    write_bytes(job.out / SHEET, contact_sheet_of(job, network, names, pseudo_labels_of(ranking)))
    write_text(job.out / TABLE, table.to_csv(index=False))
    write_text(job.out / LIST, list_text(names))
    return {
        "count": count,
        "candidates": len(candidates.names),
        "labelled": len(candidates.labelled),
        "network": used.model_dump(),
    }
