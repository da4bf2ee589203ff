"""`pseudolabel` with `labelling: thresholds`: one forward pass, then passes over its stored maps.

    forward pass -> 1/8 logits in the state folder -> [image selection] -> pass 1 -> pass 2 -> label pass

The state carried from image to image is one table of 10 MB (19 classes), whatever the number of images. Every
pass goes on from where a kill left it, and neither kills nor parts change a bit of the result.
Source: Zou et al., CBST, ECCV 2018; `docs/methods/cbst.md`.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.artifacts.files import read_json, write_json, write_text
from pipeline.data.records import RecordWriter
from pipeline.data.soft_labels import PREFIX, save_soft_settings
from pipeline.datasets.taxonomy import IGNORE, Taxonomy
from pipeline.inference.accumulation import accumulate
from pipeline.inference.parts import Part, PartStore
from pipeline.inference.passes import MAX_PART, run_pass
from pipeline.inference.stored_maps import KeepMaps, MapsOnly, Scores, StoredMaps
from pipeline.inference.test_modes import build_test_mode
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics.confidence_regularisers import lrent_soft_labels
from pipeline.numerics.portions import (
    class_balanced_score,
    class_confidence,
    portion,
    select_class_balanced,
)
from pipeline.numerics.priors import enlarge_prior
from pipeline.numerics.thresholds import (
    BINS,
    Ranks,
    ThresholdRule,
    Thresholds,
    count_high,
    count_low,
    locate,
    pseudo_label,
    thresholds,
    winner,
)
from pipeline.stages.base import StageRun
from pipeline.stages.image_lists import list_facts
from pipeline.stages.inputs import (
    Chosen,
    Progress,
    cache_of,
    names_for,
    network_facts,
    network_of,
    pass_settings,
    taxonomy_of,
)
from pipeline.stages.label_statistics import class_statistics
from pipeline.stages.parameters import PseudolabelParameters
from pipeline.stages.prior import stored_prior

TABLE = "thresholds.csv"
PER_SHARD = 16
"""Label maps, and logits, in a file: what a stop waits for, some seconds of large images."""
COMPUTED_ON = "computed_on.json"
TABLES = ("selection", "pass-1", "pass-2", "counts", "records")
"""Folders of the passes over the scores, in the state folder."""

PORTION_STEP = 0.05
"""What the portion grows by each round, in the paper and in both released codes."""

MOST_PARTS = 256
"""Of a pass: a set of many small images would otherwise spend its time on writing tables and tiny files."""


@dataclass(frozen=True)
class LabelCounts:
    """Pixels over all images, int64: `labelled` (256,) by label, `kept` (K,) by predicted class."""

    labelled: Tensor
    kept: Tensor


def rule_of_round(parameters: PseudolabelParameters, num_classes: int) -> ThresholdRule:
    """How thresholds are taken in the round of these parameters."""
    share = portion(parameters.round, parameters.portion, PORTION_STEP, parameters.portion_max)
    return ThresholdRule(num_classes, share, parameters.scope, parameters.stride, parameters.cap)


def compute_thresholded(run: StageRun) -> dict[str, Any]:
    """Write label maps, `statistics.json`, `thresholds.csv`, and for LRENT the logits of soft labels."""
    parameters: PseudolabelParameters = run.parameters
    taxonomy = taxonomy_of(run.parent("images"))
    wanted = set(names_for(run, "images"))
    # In the cache's order, so that a split's ranking changes which images are labelled and nothing else.
    names = [name for name in cache_of(run.parent("images")).names if name in wanted]
    network, step = network_of(run, "model", parameters.snapshot)
    scores = _forward(run, network, names)
    _drop_foreign_tables(run, scores.device)
    names, scores = _selected(run, names, scores)
    rule = rule_of_round(parameters, taxonomy.num_classes)
    found, predicted = _thresholds(run, scores, rule)
    counts = _write_labels(run, names, scores, found, taxonomy.num_classes)
    if parameters.soft_alpha is not None:
        _publish_logits(run, names, scores, found)
    table = thresholds_table(taxonomy, parameters.round, rule, found, predicted, counts)
    write_text(run.out / TABLE, table.to_csv(index=False))
    more = {"predicted": dict(zip(taxonomy.names, predicted.tolist(), strict=True)), "images": len(names)}
    statistics = class_statistics(run, counts.labelled.numpy(), more)
    labelled = statistics["labelled_share"]
    if not labelled:
        run.log.warning("no pixel reached its threshold: training will see no target label")
    run.log.info("%d images, portion %s, labelled share %s", len(names), rule.portion, labelled)
    return {
        **list_facts(names),
        "portion": rule.portion,
        "labelled_share": labelled,
        "network": network_facts(run, "model", step),
    }


def _forward(run: StageRun, network: SegmentationNetwork, names: list[str]) -> Scores:
    """Pass every image through the network once; the maps stay in the state folder."""
    mode = build_test_mode(run.parameters.test_mode)
    images = Chosen(cache_of(run.parent("images")).images, names)
    measure, settings = KeepMaps(run.folder.state / "maps"), pass_settings(run, "forward")
    stored = run_pass(measure, network, MapsOnly(mode), images, settings)
    if not run.has_parent("prior"):
        return Scores(stored, network, mode)
    prior = stored_prior(run.parent("prior"))
    return Scores(stored, network, mode, lambda size: enlarge_prior(prior, size))


def _drop_foreign_tables(run: StageRun, device: torch.device) -> None:
    """Begin the passes over the scores anew where what is left of them was computed on something else.

    Scores that differ in their last bit fall into other bins, so the passes must agree on the arithmetic. The
    stored maps stay.
    """
    path = run.folder.state / COMPUTED_ON
    now = {"device": device.type, "torch": torch.__version__}
    if path.is_file() and (before := read_json(path)) != now:
        run.log.warning("thresholds were begun on %s and begin anew on %s", before, now)
        for name in TABLES:
            shutil.rmtree(run.folder.state / name, ignore_errors=True)
    write_json(path, now)


def _store(run: StageRun, name: str) -> PartStore:
    settings = pass_settings(run, name)
    return PartStore(settings.state, settings.fingerprint)


def _at_least(images: int, total: int) -> int:
    """`images` per part, or more where `total` would be cut into too many parts."""
    return max(images, -(-total // MOST_PARTS))


def _accumulate(
    run: StageRun, name: str, tables: dict[str, Tensor], update: Callable[[int], None], total: int
) -> dict[str, Tensor]:
    """Run one resumable pass over the scores; returns its tables on the CPU."""
    accumulate(
        tables,
        update,
        total,
        _store(run, name),
        every=max(1, min(_at_least(MAX_PART, total), -(-total // run.settings.parts))),
        stop=run.stop,
        progress=Progress(run, name),
    )
    return {key: table.cpu() for key, table in tables.items()}


def _selected(run: StageRun, names: list[str], scores: Scores) -> tuple[list[str], Scores]:
    """Keep the images of highest class-balanced confidence where `select_share` asks for it."""
    share = run.parameters.select_share
    if share is None:
        return names, scores
    tables = {"balanced": torch.zeros(len(names), dtype=torch.float64)}

    def update(position: int) -> None:
        sums, counts = class_confidence(scores[position])
        tables["balanced"][position] = class_balanced_score(sums.tolist(), counts.tolist())

    balanced = _accumulate(run, "selection", tables, update, len(names))["balanced"].tolist()
    chosen = set(select_class_balanced(names, balanced, share))
    places = [place for place, name in enumerate(names) if name in chosen]
    stored = StoredMaps(tuple(scores.stored.places[place] for place in places))
    return [names[place] for place in places], Scores(stored, scores.network, scores.mode, scores.prior_at)


def _thresholds(run: StageRun, scores: Scores, rule: ThresholdRule) -> tuple[Thresholds, Tensor]:
    """Both histogram passes; also the predicted pixels of every class, int64 (K,), all pixels counted."""
    ranks, predicted = _pass_1(run, scores, rule)
    tables = {"low": torch.zeros((rule.rows, BINS), dtype=torch.int64, device=scores.device)}

    def low(position: int) -> None:
        count_low(tables["low"], scores[position], rule, ranks)

    counted = _accumulate(run, "pass-2", tables, low, len(scores))
    return thresholds(ranks, counted["low"], rule), predicted


def _pass_1(run: StageRun, scores: Scores, rule: ThresholdRule) -> tuple[Ranks, Tensor]:
    """Count the upper key halves, whose table ends with this function, and all predicted pixels by class."""
    tables = {
        "high": torch.zeros((rule.rows, BINS), dtype=torch.int64, device=scores.device),
        "predicted": torch.zeros(rule.num_classes, dtype=torch.int64, device=scores.device),
    }

    def high(position: int) -> None:
        image = scores[position]
        count_high(tables["high"], image, rule)
        tables["predicted"] += _class_pixels(winner(image)[1], rule.num_classes)

    counted = _accumulate(run, "pass-1", tables, high, len(scores))
    return locate(counted["high"], rule), counted["predicted"]


def _class_pixels(labels: Tensor, length: int) -> Tensor:
    return torch.bincount(labels.flatten().int(), minlength=length)


def label_image(image: Tensor, values: Tensor, soft_alpha: float | None) -> Tensor:
    """Label one image's scores, float32 (K, H, W), by thresholds (K,): uint8 (H, W), 255 where none.

    With `soft_alpha` a pixel is kept by LRENT's rule, which keeps some more, and its label is the class of
    largest soft label.
    """
    if soft_alpha is None:
        return pseudo_label(image, values)
    _, kept = lrent_soft_labels(image.log()[None], values, soft_alpha)
    return winner(image, values)[1].masked_fill_(~kept[0], IGNORE)


def _writer(run: StageRun, prefix: str, names: list[str]) -> RecordWriter:
    state = run.folder.state / "records"
    return RecordWriter(run.out, prefix, state, names, _at_least(PER_SHARD, len(names)))


def _write_labels(
    run: StageRun, names: list[str], scores: Scores, found: Thresholds, num_classes: int
) -> LabelCounts:
    """The label pass: one shard of records after the other, with the pixel counts of each."""
    writer = _writer(run, "labels", names)
    store, progress = _store(run, "counts"), Progress(run, "labels")
    counted = set(store.finished())
    pieces: list[Part] = []
    made = 0
    for number in writer.parts():
        start = number * writer.per_shard
        piece = Part(start, start + len(writer.part_names(number)))
        pieces.append(piece)
        if not (writer.is_written(number) and piece in counted):
            if made:  # one shard is made however little time there is
                run.check_stop()
            made += 1
            store.save(piece, _write_shard(run, writer, number, piece, scores, found, num_classes))
        progress(piece.stop, len(names))
    writer.finish()
    lengths = {"labelled": 256, "kept": num_classes}
    total = {name: torch.zeros(length, dtype=torch.int64) for name, length in lengths.items()}
    for piece in pieces:
        for name, counts in store.load(piece).items():
            total[name] += counts
    return LabelCounts(**total)


def _write_shard(
    run: StageRun,
    writer: RecordWriter,
    number: int,
    piece: Part,
    scores: Scores,
    found: Thresholds,
    num_classes: int,
) -> dict[str, Tensor]:
    values = found.values.to(scores.device)
    labelled = torch.zeros(256, dtype=torch.int64, device=scores.device)
    kept = torch.zeros(num_classes, dtype=torch.int64, device=scores.device)
    with writer.part(number) as records:
        for position in range(piece.start, piece.stop):
            image = scores[position]
            label = label_image(image, values, run.parameters.soft_alpha)
            labelled += _class_pixels(label, 256)
            kept += _class_pixels(winner(image)[1][label != IGNORE], num_classes)
            records.add(label.cpu().numpy())
    return {"labelled": labelled.cpu(), "kept": kept.cpu()}


def _publish_logits(run: StageRun, names: list[str], scores: Scores, found: Thresholds) -> None:
    """Put the stored maps into the artifact, where training makes soft labels of them."""
    writer = _writer(run, PREFIX, names)
    for made, number in enumerate(writer.missing_parts()):
        if made:
            run.check_stop()
        start = number * writer.per_shard
        count = len(writer.part_names(number))
        writer.write_part(number, (scores.stored.packed(place) for place in range(start, start + count)))
    writer.finish()
    prior = stored_prior(run.parent("prior")).numpy() if run.has_parent("prior") else None
    save_soft_settings(
        run.out,
        found.values.numpy().astype(np.float32),
        run.parameters.soft_alpha,
        scores.network.align_corners,
        scores.network.single_pixel,
        prior,
    )


def thresholds_table(
    taxonomy: Taxonomy,
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
            "class": list(taxonomy.names),
            "threshold": found.values.double().tolist(),
            "count": predicted.tolist(),
            "portion": rule.portion,
            "selected": [round(value, 6) for value in share.tolist()],
            "labelled": counts.labelled[: taxonomy.num_classes].tolist(),
        }
    )
