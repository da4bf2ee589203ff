"""What a `pseudolabel` artifact says of its label maps: pixels per class and the share that carries a label."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.artifacts.files import write_json
from pipeline.datasets.taxonomy import IGNORE
from pipeline.stages.base import StageRun
from pipeline.stages.inputs import taxonomy_of

STATISTICS = "statistics.json"


def class_statistics(
    run: StageRun, counts: np.ndarray, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write `statistics.json`: pixels per class, the share that carries a label, and `more`; `counts` int64 (256,)."""
    names = taxonomy_of(run.parent("images")).names
    labelled = {name: int(count) for name, count in zip(names, counts, strict=False)}
    total = int(counts.sum())
    share = round(1.0 - int(counts[IGNORE]) / total, 6) if total else None
    statistics = {"pixels": labelled, "ignored": int(counts[IGNORE]), "labelled_share": share} | dict(
        more or {}
    )
    write_json(run.out / STATISTICS, statistics)
    return statistics
