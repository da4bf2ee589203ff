"""`prior`: where in the picture each class lies in the source, smoothed; stored at a quarter of the size.

Source: Zou et al., CBST, ECCV 2018, section 4 (CBST-SP); `docs/methods/cbst.md`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.control import Control
from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import write_json
from pipeline.data.cache import Cache
from pipeline.data.placement import resized_label
from pipeline.inference.accumulation import accumulate
from pipeline.inference.chunks import ChunkStore
from pipeline.numerics import WidthHeight
from pipeline.numerics.priors import NORM, SIGMA, count_label, shrink_prior, spatial_prior
from pipeline.stages.base import Job
from pipeline.stages.inputs import cache_of, pass_settings
from pipeline.stages.parameters import PriorParameters
from pipeline.stages.prior_file import store_prior
from pipeline.stages.progress import Progress

SETTINGS = "prior.json"
SAVED_EVERY = 2000
"""Labels between saves: a label takes a millisecond, the table up to 160 MB."""


def target_size(job: Job[PriorParameters]) -> WidthHeight:
    """Width and height of the prior: the one size of the target's images."""
    sizes = cache_of(job.caches("target")[0]).statistics["sizes"]
    if len(sizes) != 1:
        raise DataError(
            f"{job.key}: the target's images have {len(sizes)} sizes ({', '.join(sorted(sizes)[:4])}, ...); a "
            "spatial prior needs one: give the task's target a `size`"
        )
    width, height = next(iter(sizes)).split("x")
    return int(width), int(height)


def compute(job: Job[PriorParameters]) -> dict[str, Any]:
    """Write the prior as float16 (K, h, w) and how it was made."""
    caches = [cache_of(folder) for folder in job.caches("source")]
    size = target_size(job)
    images = sum(len(cache) for cache in caches)
    counts = _counts(job, caches, job.taxonomy.num_classes, size)
    prior = spatial_prior(counts, images)
    store_prior(job.folder, shrink_prior(prior).numpy())
    facts = {"images": images, "size": list(size), "norm": NORM, "sigma": SIGMA}
    write_json(job.out / SETTINGS, facts)
    job.log.info("prior of %d source labels at %dx%d", images, *size)
    return facts


def _counts(
    job: Job[PriorParameters], caches: list[Cache], num_classes: int, size: WidthHeight
) -> NDArray[np.int32]:
    """How many source labels have each class at each pixel, int32 (K, H, W)."""
    places = [(cache, place) for cache in caches for place in range(len(cache))]
    counts = torch.zeros((num_classes, size[1], size[0]), dtype=torch.int32)
    table: NDArray[np.int32] = counts.numpy()

    def update(position: int) -> None:
        cache, place = places[position]
        assert cache.labels is not None
        count_label(table, resized_label(cache.labels[place], size))

    settings = pass_settings(job, "counts")
    store = ChunkStore(settings.state, settings.fingerprint)
    control = Control(job.stop, Progress(job, "prior"))
    accumulate({"counts": counts}, update, len(places), store, control, SAVED_EVERY)
    return table
