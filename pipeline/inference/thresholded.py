"""Label maps by confidence thresholds, made in passes over one forward pass's stored maps.

    forward pass -> maps on the network's grid -> [image selection] -> pass 1 -> pass 2 -> label maps

The state carried from image to image is one table of 10 MB (19 classes), whatever the number of images. Every
pass goes on from where a kill left it, and neither kills nor chunks change a bit of the result.
Source: Zou et al., CBST, ECCV 2018; `docs/methods/cbst.md`.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.artifacts.files import read_json, write_json
from pipeline.data.records import RecordWriter
from pipeline.inference.accumulation import accumulate, write_records
from pipeline.inference.chunks import ChunkStore
from pipeline.inference.passes import MAX_CHUNK, PassSettings
from pipeline.inference.stored_maps import Scores
from pipeline.numerics.confidence_regularisers import lrent_soft_labels
from pipeline.numerics.counting import class_pixels
from pipeline.numerics.portions import class_balanced_score, class_confidence, select_class_balanced
from pipeline.numerics.thresholds import (
    BINS,
    IGNORE,
    Ranks,
    ThresholdRule,
    Thresholds,
    count_high,
    count_low,
    locate,
    pseudo_label,
    thresholds,
)
from pipeline.numerics.winner import winner

PER_FILE = 16
"""Label maps, and packed maps, in a file: what a stop waits for, some seconds of large images."""
MOST_CHUNKS = 256
"""Of a pass: a set of many small images would otherwise spend its time on writing tables and tiny files."""
COMPUTED_ON = "computed_on.json"
SELECTION, PASS_1, PASS_2, LABELS, MAPS, RECORDS = TABLES = (
    "selection",
    "pass-1",
    "pass-2",
    "labels",
    "published-maps",
    "records",
)
"""Folders of the passes over the scores, in the state folder."""

Passes = Callable[[str], PassSettings]
"""The settings of a pass by its name: a folder below the state folder, when to stop, whom to tell."""


@dataclass(frozen=True)
class LabelCounts:
    """Pixels over all images, int64: `labelled` (256,) by label, `kept` (K,) by predicted class."""

    labelled: Tensor
    kept: Tensor


def drop_foreign_tables(state: Path, device: torch.device, log: logging.Logger) -> None:
    """Begin the passes over the scores anew where what is left of them was computed on something else.

    Scores that differ in their last bit fall into other bins, so the passes must agree on the arithmetic. The
    stored maps stay.
    """
    path = state / COMPUTED_ON
    now = {"device": device.type, "torch": torch.__version__}
    if path.is_file() and (before := read_json(path)) != now:
        log.warning("thresholds were begun on %s and begin anew on %s", before, now)
        for name in TABLES:
            shutil.rmtree(state / name, ignore_errors=True)
    write_json(path, now)


def confident_images(names: Sequence[str], scores: Scores, share: float, passes: Passes) -> list[int]:
    """Places of the `share` of the images of highest class-balanced confidence, ascending."""
    tables = {"balanced": torch.zeros(len(names), dtype=torch.float64)}

    def update(position: int) -> None:
        sums, counts = class_confidence(*scores.winners(position), scores.network.num_classes)
        tables["balanced"][position] = class_balanced_score(sums.tolist(), counts.tolist())

    balanced = _accumulate(tables, update, len(names), passes(SELECTION))["balanced"].tolist()
    chosen = set(select_class_balanced(names, balanced, share))
    return [place for place, name in enumerate(names) if name in chosen]


def find_thresholds(scores: Scores, rule: ThresholdRule, passes: Passes) -> tuple[Thresholds, Tensor]:
    """Both histogram passes; also the predicted pixels of every class, int64 (K,), all pixels counted."""
    ranks, predicted = _pass_1(scores, rule, passes)
    tables = {"low": torch.zeros((rule.rows, BINS), dtype=torch.int64, device=scores.device)}

    def low(position: int) -> None:
        count_low(tables["low"], *scores.winners(position), rule, ranks)

    counted = _accumulate(tables, low, len(scores), passes(PASS_2))
    return thresholds(ranks, counted["low"], rule), predicted


def _pass_1(scores: Scores, rule: ThresholdRule, passes: Passes) -> tuple[Ranks, Tensor]:
    """Count the upper key halves, whose table ends with this function, and all predicted pixels by class."""
    tables = {
        "high": torch.zeros((rule.rows, BINS), dtype=torch.int64, device=scores.device),
        "predicted": torch.zeros(rule.num_classes, dtype=torch.int64, device=scores.device),
    }

    def high(position: int) -> None:
        best, label = scores.winners(position)
        count_high(tables["high"], best, label, rule)
        tables["predicted"] += class_pixels(label, rule.num_classes)

    counted = _accumulate(tables, high, len(scores), passes(PASS_1))
    return locate(counted["high"], rule), counted["predicted"]


def _accumulate(
    tables: dict[str, Tensor], update: Callable[[int], None], total: int, settings: PassSettings
) -> dict[str, Tensor]:
    """Run one resumable pass over the scores; returns its tables on the CPU."""
    accumulate(
        tables,
        update,
        total,
        ChunkStore(settings.state, settings.fingerprint),
        settings.control,
        every=max(1, min(_at_least(MAX_CHUNK, total), -(-total // settings.chunks))),
    )
    return {key: table.cpu() for key, table in tables.items()}


def _at_least(images: int, total: int) -> int:
    """`images` per chunk, or more where `total` would be cut into too many chunks."""
    return max(images, -(-total // MOST_CHUNKS))


def label_image(image: Tensor, values: Tensor, soft_alpha: float | None) -> Tensor:
    """Label scores, float32 (K, H, W), by thresholds (K,): uint8 (H, W), 255 where none.

    With `soft_alpha` a pixel is kept by LRENT's rule, which keeps some more, and its label is the class of
    largest soft label.
    """
    if soft_alpha is None:
        return pseudo_label(image, values)
    _, kept = lrent_soft_labels(image.log()[None], values, soft_alpha)
    return winner(image / values[:, None, None])[1].masked_fill_(~kept[0], IGNORE)


def label_and_class(
    strips: Iterable[tuple[slice, Tensor]], values: Tensor, soft_alpha: float | None
) -> tuple[Tensor, Tensor]:
    """Label and best class of every pixel of one image, uint8 (H, W) both, from its strips of scores."""
    pieces = [(label_image(scores, values, soft_alpha), winner(scores)[1]) for _, scores in strips]
    label, predicted = (torch.cat(column) for column in zip(*pieces, strict=True))
    return label, predicted


def write_labels(
    folder: Path,
    names: Sequence[str],
    scores: Scores,
    values: Tensor,
    soft_alpha: float | None,
    passes: Passes,
) -> LabelCounts:
    """The label pass: write the records `labels` into `folder`; `values`: thresholds, float32 (K,)."""
    values = values.to(scores.device)
    tables = {
        "labelled": torch.zeros(256, dtype=torch.int64, device=scores.device),
        "kept": torch.zeros(len(values), dtype=torch.int64, device=scores.device),
    }

    def labelled(position: int) -> np.ndarray:
        label, predicted = label_and_class(scores.strips(position), values, soft_alpha)
        tables["labelled"] += class_pixels(label, 256)
        # A pixel without a label goes to a class of its own.
        kept = class_pixels(predicted.masked_fill(label == IGNORE, len(values)), len(values) + 1)
        tables["kept"] += kept[:-1]
        return label.cpu().numpy()

    write_records(_writer(folder, "labels", names, passes), labelled, tables, passes(LABELS))
    return LabelCounts(tables["labelled"].cpu(), tables["kept"].cpu())


def publish_maps(folder: Path, prefix: str, names: Sequence[str], scores: Scores, passes: Passes) -> None:
    """Write the stored maps as the records `prefix` into `folder`."""
    write_records(_writer(folder, prefix, names, passes), scores.stored.packed, {}, passes(MAPS))


def _writer(folder: Path, prefix: str, names: Sequence[str], passes: Passes) -> RecordWriter:
    return RecordWriter(folder, prefix, passes(RECORDS).state, names, _at_least(PER_FILE, len(names)))


def thresholds_table(
    class_names: Sequence[str],
    round_index: int,
    rule: ThresholdRule,
    found: Thresholds,
    predicted: Tensor,
    counts: LabelCounts,
) -> pd.DataFrame:
    """One row per class: round, class, threshold, count, portion, selected, labelled.

    `count`: pixels predicted as the class (all of them, not the sample). `selected`: share of those that were
    kept, under whatever label; 0 for a class never predicted. `labelled`: pixels that carry the label.
    """
    kept, seen = counts.kept.double(), predicted.double()
    share = torch.where(seen > 0, kept / seen.clamp(min=1.0), torch.zeros_like(kept))
    return pd.DataFrame(
        {
            "round": round_index,
            "class": list(class_names),
            "threshold": found.values.double().tolist(),
            "count": predicted.tolist(),
            "portion": rule.portion,
            "selected": [round(value, 6) for value in share.tolist()],
            "labelled": counts.labelled[: len(class_names)].tolist(),
        }
    )
