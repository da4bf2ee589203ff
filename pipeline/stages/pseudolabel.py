"""`pseudolabel`: label maps for target images, from the ranking's argmax maps or by confidence thresholds."""

from typing import Any

import numpy as np

from pipeline.data.records import RecordWriter
from pipeline.stages.base import StageRun
from pipeline.stages.image_lists import list_facts
from pipeline.stages.inputs import cache_of, names_for, pseudo_labels_of
from pipeline.stages.label_statistics import class_statistics
from pipeline.stages.thresholded import compute_thresholded


def compute(run: StageRun) -> dict[str, Any]:
    """Write the label maps as records, and their statistics."""
    if run.parameters.labelling == "argmax":
        return _from_ranking(run)
    return compute_thresholded(run)


def _from_ranking(run: StageRun) -> dict[str, Any]:
    """Take the argmax maps that the ranking's pass made: every pixel, no image through a network again."""
    maps = pseudo_labels_of(run.parent("ranking"))
    wanted = set(names_for(run, "images"))
    # In the cache's order, so that which part an image is in changes nothing else.
    names = [name for name in cache_of(run.parent("images")).names if name in wanted]
    writer = RecordWriter(run.out, "labels", run.folder.state / "records", names)
    for part in writer.missing_parts():
        writer.write_part(part, (maps[maps.index_of(name)] for name in writer.part_names(part)))
        run.check_stop()  # after a part, so that even a tiny budget makes progress
    writer.finish()
    labels = pseudo_labels_of(run.folder)
    counts = np.zeros(256, dtype=np.int64)
    for position in range(len(labels)):
        counts += np.bincount(labels[position].ravel(), minlength=256)
    statistics = class_statistics(run, counts)
    run.log.info("%d label maps, labelled share %s", len(names), statistics["labelled_share"])
    network = run.parent_manifests["ranking"]["summary"]["network"]
    return {**list_facts(names), "labelled_share": statistics["labelled_share"], "network": network}
