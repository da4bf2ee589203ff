"""The report's gallery: a few evaluation images with label, source-only, adapted and entropy."""

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.artifacts.folder import ArtifactFolder
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.files import load_network
from pipeline.numerics import Size
from pipeline.numerics.entropy import entropy_map
from pipeline.report.model import GalleryRow
from pipeline.stages.inputs import cache_of
from pipeline.stages.snapshots import snapshot_path, snapshot_steps

COUNT = 6


def _last_network(folder: ArtifactFolder) -> SegmentationNetwork:
    network, _ = load_network(snapshot_path(folder, snapshot_steps(folder)[-1]))
    return network.eval()


def _predicted(network: SegmentationNetwork, image: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Class ids and entropy (0 certain, 255 uniform) of one image at `size`, both uint8."""
    with torch.inference_mode():
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).unsqueeze(0)
        logits = logits_at(Plain(), network, pixels, network.label_size(size))
        entropy = (entropy_map(logits)[0] * 255).round().clamp(0, 255)
    return logits.argmax(1)[0].to(torch.uint8).numpy(), entropy.to(torch.uint8).numpy()


def gallery_rows(
    data: Mapping[str, ArtifactFolder], before: ArtifactFolder, after: ArtifactFolder
) -> list[GalleryRow]:
    """Evenly spaced images of the evaluation split, or of the target where no labels exist; none where neither is read.

    `data`: caches by what for; `before`, `after`: the trainings whose last networks are shown.
    """
    shown = data.get("evaluation", data.get("target"))
    if shown is None:
        return []
    cache = cache_of(shown)
    source_only, adapted = _last_network(before), _last_network(after)
    count = min(COUNT, len(cache.names))
    rows = []
    for place in range(count):
        position = (2 * place + 1) * len(cache.names) // (2 * count)
        image = np.asarray(cache.images[position])
        label = None if cache.labels is None else np.asarray(cache.labels[position])
        first, _ = _predicted(source_only, image, image.shape[:2])
        last, entropy = _predicted(adapted, image, image.shape[:2])
        rows.append(GalleryRow(cache.names[position], image, label, first, last, entropy))
    return rows
