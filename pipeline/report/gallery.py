"""The gallery: a few images of a split, and what each model says of them, as `evaluate` or `select` kept it."""

import numpy as np
import pandas as pd

from pipeline.artifacts.folder import ArtifactFolder
from pipeline.data.cache import Cache
from pipeline.report.model import Answer, GalleryImage
from pipeline.stages.examples import image_table, stored_examples


def gallery_images(cache: Cache, looked_at: ArtifactFolder) -> tuple[GalleryImage, ...]:
    """The images whose maps an evaluation or a selection kept, with their labels if the split has any."""
    places = [cache.images.index_of(name) for name in stored_examples(looked_at)]
    return tuple(
        GalleryImage(
            cache.names[place],
            np.asarray(cache.images[place]),
            None if cache.labels is None else np.asarray(cache.labels[place]),
        )
        for place in places
    )


def answers_of(looked_at: ArtifactFolder) -> dict[str, Answer]:
    """What the last network of a training says of single images, by name."""
    table = image_table(looked_at).set_index("image")
    figures = table["miou"] if "miou" in table else pd.Series(dtype=float)
    return {
        name: Answer(one.classes, one.entropy, _known(figures.get(name)))
        for name, one in stored_examples(looked_at).items()
    }


def _known(figure: float | None) -> float | None:
    return None if figure is None or np.isnan(figure) else float(figure)
