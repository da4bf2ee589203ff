"""The report's gallery: a few evaluation images with label, source-only, adapted and entropy."""

import numpy as np

from pipeline.artifacts.folder import ArtifactFolder
from pipeline.data.cache import Cache
from pipeline.report.model import GalleryRow
from pipeline.stages.examples import stored_examples

COUNT = 6


def gallery_rows(data: ArtifactFolder, before: ArtifactFolder, after: ArtifactFolder) -> list[GalleryRow]:
    """Evenly spaced images of the cache `data`, as `evaluate` or `select` saw the first and the last training."""
    cache = Cache(data.path)
    first, last = stored_examples(before), stored_examples(after)
    names = list(last)
    count = min(COUNT, len(names))
    rows = []
    for name in (names[(2 * place + 1) * len(names) // (2 * count)] for place in range(count)):
        position = cache.images.index_of(name)
        label = None if cache.labels is None else np.asarray(cache.labels[position])
        image = np.asarray(cache.images[position])
        rows.append(
            GalleryRow(name, image, label, first[name].classes, last[name].classes, last[name].entropy)
        )
    return rows
