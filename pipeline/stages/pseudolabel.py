"""`pseudolabel`: label maps for target images, from the ranking's argmax maps or by confidence thresholds.

Source of the thresholds: Zou et al., CBST, ECCV 2018; `docs/methods/cbst.md`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts.files import write_json, write_text
from pipeline.data.domain import list_facts
from pipeline.data.records import RecordWriter
from pipeline.data.soft_labels import PREFIX, save_soft_settings
from pipeline.datasets.taxonomy import IGNORE
from pipeline.inference.accumulation import write_records
from pipeline.inference.passes import run_pass
from pipeline.inference.stored_maps import KeepMaps, Scores, StoredMaps
from pipeline.inference.test_modes import build_test_mode
from pipeline.inference.thresholded import (
    LABELS,
    RECORDS,
    confident_images,
    drop_foreign_tables,
    find_thresholds,
    publish_maps,
    thresholds_table,
    write_labels,
)
from pipeline.networks.base import SegmentationNetwork
from pipeline.numerics.priors import enlarge_prior
from pipeline.numerics.schedules import portion
from pipeline.numerics.thresholds import ThresholdRule, Thresholds
from pipeline.stages.base import Job
from pipeline.stages.inputs import (
    Chosen,
    cache_of,
    names_for,
    network_facts,
    network_of,
    pass_settings,
    pseudo_labels_of,
)
from pipeline.stages.parameters import PseudolabelParameters
from pipeline.stages.prior_file import stored_prior

STATISTICS = "statistics.json"
TABLE = "thresholds.csv"

PORTION_STEP = 0.05
"""What the portion grows by each round, in the paper and in both released codes."""


def compute(job: Job[PseudolabelParameters]) -> dict[str, Any]:
    """Write the label maps as records, and their statistics."""
    wanted = set(names_for(job, "images"))
    # In the cache's order, so that which part an image is in changes nothing else.
    names = [name for name in cache_of(job.caches("images")[0]).names if name in wanted]
    return {"argmax": _from_ranking, "thresholds": _by_thresholds}[job.parameters.labelling](job, names)


def _from_ranking(job: Job[PseudolabelParameters], names: list[str]) -> dict[str, Any]:
    """Take the argmax maps that the ranking's pass made: every pixel, no image through a network again."""
    maps = pseudo_labels_of(job.parent("ranking"))
    tables = {"labelled": torch.zeros(256, dtype=torch.int64)}

    def argmax(position: int) -> np.ndarray:
        label = maps[maps.index_of(names[position])]
        tables["labelled"] += torch.from_numpy(np.bincount(label.ravel(), minlength=256))
        return label

    writer = RecordWriter(job.out, "labels", job.folder.state / RECORDS, names)
    write_records(writer, argmax, tables, pass_settings(job, LABELS))
    share = _write_statistics(job, tables["labelled"])
    job.log.info("%d label maps, labelled share %s", len(names), share)
    network = job.summary("ranking")["network"]
    return {**list_facts(names), "labelled_share": share, "network": network}


def _by_thresholds(job: Job[PseudolabelParameters], names: list[str]) -> dict[str, Any]:
    """Also write `thresholds.csv`, and for LRENT the logits of soft labels."""
    parameters = job.parameters
    taxonomy = job.taxonomy
    passes = partial(pass_settings, job)
    network, step = network_of(job, "model", parameters.snapshot)
    scores = _forward(job, network, names)
    drop_foreign_tables(job.folder.state, scores.device, job.log)
    if parameters.select_share is not None:
        places = confident_images(names, scores, parameters.select_share, passes)
        names, scores = [names[place] for place in places], _at(scores, places)
    rule = rule_of_round(parameters, taxonomy.num_classes)
    found, predicted = find_thresholds(scores, rule, passes)
    counts = write_labels(job.out, names, scores, found.values, parameters.soft_alpha, passes)
    if parameters.soft_alpha is not None:
        publish_maps(job.out, PREFIX, names, scores, passes)
        _save_soft_settings(job, network, found, parameters.soft_alpha)
    table = thresholds_table(taxonomy.names, parameters.round, rule, found, predicted, counts)
    write_text(job.out / TABLE, table.to_csv(index=False))
    more = {"predicted": dict(zip(taxonomy.names, predicted.tolist(), strict=True)), "images": len(names)}
    share = _write_statistics(job, counts.labelled, more)
    if not share:
        job.log.warning("no pixel reached its threshold: training will see no target label")
    job.log.info("%d images, portion %s, labelled share %s", len(names), rule.portion, share)
    return {
        **list_facts(names),
        "portion": rule.portion,
        "labelled_share": share,
        "network": network_facts(job, "model", step),
    }


def _forward(job: Job[PseudolabelParameters], network: SegmentationNetwork, names: list[str]) -> Scores:
    """Pass every image through the network once; the maps stay in the state folder."""
    mode = build_test_mode(job.parameters.test_mode)
    images = Chosen(cache_of(job.caches("images")[0]).images, names)
    measure, settings = KeepMaps(job.folder.state / "maps"), pass_settings(job, "forward")
    stored = run_pass(measure, network, mode, images, settings)
    if not job.has_parent("prior"):
        return Scores(stored, network, mode)
    prior = torch.from_numpy(stored_prior(job.parent("prior")))
    return Scores(stored, network, mode, lambda size: enlarge_prior(prior, size))


def _at(scores: Scores, places: Sequence[int]) -> Scores:
    stored = StoredMaps(tuple(scores.stored.places[place] for place in places))
    return Scores(stored, scores.network, scores.mode, scores.prior_at)


def rule_of_round(parameters: PseudolabelParameters, num_classes: int) -> ThresholdRule:
    """How thresholds are taken in the round of these parameters."""
    share = portion(parameters.round, parameters.portion, PORTION_STEP, parameters.portion_max)
    return ThresholdRule(num_classes, share, parameters.scope, parameters.stride, parameters.cap)


def _save_soft_settings(
    job: Job[PseudolabelParameters], network: SegmentationNetwork, found: Thresholds, soft_alpha: float
) -> None:
    """Write what training needs to make soft labels of the published maps."""
    prior = stored_prior(job.parent("prior")) if job.has_parent("prior") else None
    values = found.values.numpy().astype(np.float32)
    save_soft_settings(job.out, values, soft_alpha, network.align_corners, network.single_pixel, prior)


def _write_statistics(
    job: Job[PseudolabelParameters], counts: Tensor, more: Mapping[str, Any] | None = None
) -> float | None:
    """Write `statistics.json`: pixels per class, the share that carries a label, which it returns, and `more`.

    `counts`: pixels by label, int64 (256,).
    """
    taxonomy = job.taxonomy
    total, ignored = int(counts.sum()), int(counts[IGNORE])
    share = round(1.0 - ignored / total, 6) if total else None
    labelled = dict(zip(taxonomy.names, counts.tolist(), strict=False))
    statistics = {"pixels": labelled, "ignored": ignored, "labelled_share": share}
    write_json(job.out / STATISTICS, {**statistics, **(more or {})})
    return share
