"""What an experiment's prepared data hold, by what for; of the target's training images, the pictures alone."""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.data.cache import Cache
from pipeline.datasets.preview import LOOKED_AT, SHOWN, Preview, cache_preview, samples_of
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.numerics.spacing import evenly_spaced
from pipeline.stages.prepare import PREVIEW
from pipeline.stages.results import Results

SIDES = ("source", "target", "evaluation")


def data_sides(
    results: Results, data: Mapping[str, ArtifactFolder], taxonomy: Taxonomy
) -> dict[str, Preview]:
    """Previews of source, target and the split for figures, of those that are read."""
    found = {role: preview_of_artifact(results, data[role], taxonomy) for role in SIDES if role in data}
    if "target" in found:
        found["target"] = without_labels(found["target"])
    return found


def preview_of_artifact(results: Results, folder: ArtifactFolder, taxonomy: Taxonomy) -> Preview:
    """What `prepare` noted, with its pictures; of an artifact that was made before it did, what the pictures say.

    The dataset's name is the one that it has now.
    """
    cache, made_of = Cache(folder.path), results.record(folder.path.name).data
    title = f"{made_of.dataset.name} {made_of.split}" if made_of else folder.path.name
    if not (folder.run / PREVIEW).is_file():
        return cache_preview(title, cache, taxonomy.names, (), SHOWN)
    shown = evenly_spaced(evenly_spaced(range(len(cache)), LOOKED_AT), SHOWN)
    samples = list(samples_of(cache, shown))
    return replace(Preview.of_json(read_json(folder.run / PREVIEW), samples), title=title)


def without_labels(preview: Preview) -> Preview:
    """The preview as if the split had none."""
    samples = tuple(replace(sample, label=None) for sample in preview.samples)
    still = preview.still if preview.still is not None and preview.still.class_id is None else None
    return replace(preview, pixels=None, present=None, ignored=0.0, samples=samples, still=still)
