"""`report`: the page of a suite, over all its experiments with results; reads what their folders link to."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pipeline.artifacts.files import read_json, write_json, write_text
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.data.cache import Cache
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.overlays import as_bytes
from pipeline.numerics.spacing import evenly_spaced
from pipeline.plan.records import NamedStage, ReportRecord, RunRecord
from pipeline.report.costs import costs_of
from pipeline.report.data_sides import data_sides
from pipeline.report.experiment import link_names
from pipeline.report.gallery import answers_of, gallery_images
from pipeline.report.lists import used_lists
from pipeline.report.model import (
    HEADLINE,
    SELECTIONS,
    ExperimentRecord,
    GalleryImage,
    Picture,
    RankingRecord,
    ReportData,
    Score,
    StageName,
    StageResult,
    Taken,
    TaskKind,
    Thumbnail,
)
from pipeline.report.page import build_report
from pipeline.report.tables import write_tables
from pipeline.report.terminal import text_table
from pipeline.report.unfinished import unfinished_stages
from pipeline.stages.parameters import SplitParameters
from pipeline.stages.prior_file import stored_prior
from pipeline.stages.record import ArtifactRef, read_record
from pipeline.stages.results import MADE, PAGE, SUMMARY, Results

RANKED_SHOWN = 24
TASK_KINDS: dict[str, TaskKind] = {"miou": "segmentation", "dice": "binary", "accuracy": "classification"}


def publish(results: Results, report: ReportRecord, log: logging.Logger) -> None:
    """Write `report/<suite>/index.html` and the tables as CSV and JSON beside it; at last `report.json`.

    A run that has not finished gives no figures; the page says where it stopped, and why. Such a page is not the
    rule's, which would count as made: then there is no `report.json`.
    """
    by_experiment: dict[str, list[RunRecord]] = {}
    for run in report.runs:
        record = read_record(results.planned(run.key), RunRecord)
        by_experiment.setdefault(run.experiment, []).append(record)
    unfinished = unfinished_stages(results, itertools.chain(*by_experiment.values()))
    waiting = {run for one in unfinished for run in one.runs}
    experiments: list[ExperimentRecord] = []
    for planned in by_experiment.values():
        finished = [record for record in planned if (record.experiment, record.seed) not in waiting]
        if finished:
            seeds = tuple(record.seed for record in planned)
            experiments.append(replace(experiment_record(results, finished), seeds=seeds))
    title = f"Adaptation results: {report.suite}"
    data = ReportData(tuple(experiments), title, unfinished=unfinished, suite=report.suite)
    out = results.report(report.suite)
    write_tables(data, out)
    write_text(out / SUMMARY, text_table(data))
    build_report(data, out / PAGE)
    if unfinished:
        (out / MADE).unlink(missing_ok=True)
    else:
        write_json(out / MADE, {"runs": [run.key for run in report.runs]})
    log.info("finished: %s", out / PAGE)


def headline_metrics(figures: Mapping[str, Any], taxonomy: Taxonomy) -> dict[str, float]:
    """The figures of one snapshot by the names that tables show; absent ones are left out."""
    foreground = [figures["dice"][name] for name in taxonomy.names[1:]]
    present = [value for value in foreground if value is not None]
    values = {
        "mIoU": figures["miou_present"],
        "accuracy": figures["pixel_accuracy"],
        "Dice": round(sum(present) / len(present), 2) if present else None,
    }
    values |= {f"mIoU {name}": subset["miou_present"] for name, subset in figures["subsets"].items()}
    return {name: value for name, value in values.items() if value is not None}


def _score(figures: Mapping[str, Any], folder: ArtifactFolder, taxonomy: Taxonomy) -> Score:
    matrix = pd.read_csv(folder.path / f"confusion-{figures['step']:08d}.csv", index_col="label")
    return Score(
        figures["step"], headline_metrics(figures, taxonomy), figures["iou"], matrix.to_numpy(dtype=np.int64)
    )


def _stage_run(
    results: Results, record: RunRecord, stage: NamedStage, taxonomy: Taxonomy, headline: str
) -> StageResult:
    scores: dict[str, Score] = {}
    snapshots = None
    mode = "plain"
    if stage.name in record.evaluates:
        evaluated = results.folder(record.evaluates[stage.name])
        metrics = read_json(evaluated.path / "metrics.json")
        mode = metrics["test_mode"]
        scores = {
            selection: _score(metrics[selection], evaluated, taxonomy)
            for selection in SELECTIONS
            if selection in metrics
        }
        further = _further(results, record, stage.name, taxonomy, headline)
        scores["last"] = replace(scores["last"], metrics={**scores["last"].metrics, **further})
        table = pd.read_csv(evaluated.path / "metrics.csv")
        column = {"mIoU": "miou_present", "accuracy": "pixel_accuracy"}.get(headline)
        if column:
            snapshots = table[["step", column]].rename(columns={column: headline})
    figures: dict[str, float] = {}
    if stage.name in record.selects:
        selection_table = pd.read_csv(results.folder(record.selects[stage.name]).path / "selection.csv")
        figures = {
            name: float(selection_table[name].iloc[-1]) for name in ("entropy", "information_maximisation")
        }
    return StageResult(
        stage=stage.name,
        method=str(stage.method),
        seed=record.seed,
        key=stage.key,
        test_mode=mode,
        scores=scores,
        label_free_figures=figures,
        curves=pd.read_csv(results.folder(stage).path / "metrics.csv"),
        snapshots=snapshots,
    )


def _further(
    results: Results, record: RunRecord, name: str, taxonomy: Taxonomy, headline: str
) -> dict[str, float]:
    """The headline figure of a training's last snapshot on each further split, by the name that tables show."""
    found: dict[str, float] = {}
    for title, further in record.also.items():
        if name in further:
            last = read_json(results.folder(further[name]).path / "metrics.json")["last"]
            value = headline_metrics(last, taxonomy).get(headline)
            found |= {} if value is None else {f"{headline} {title}": value}
    return found


def _taken(results: Results, record: RunRecord) -> Taken | None:
    """What the guard of a run took, as its folder says; None without a guard, or from before it had one."""
    path = results.metrics(record.experiment, record.seed)
    choice = read_json(path).get("taken") if path.is_file() else None
    if choice is None or record.source_only is None:
        return None
    return Taken(seed=record.seed, source_only=record.source_only, adapted=record.final, **choice)


def _ranking(results: Results, record: RunRecord, shown: ArtifactFolder | None) -> RankingRecord | None:
    """The ranking of a run, with a few of the images from the cache that is `shown`."""
    splits = record.of_kind("split")
    if not splits:
        return None
    parameters = results.record(splits[0].key).parameters
    assert isinstance(parameters, SplitParameters)
    path = results.folder(splits[0]).path / "split.csv"
    table = pd.read_csv(path, dtype={"image": str}, keep_default_na=False)
    easy = table.loc[table["split"] == "easy", "score"]
    return RankingRecord(
        seed=record.seed,
        scores=table["score"].to_numpy(),
        easy=len(easy),
        hard=len(table) - len(easy),
        easy_share=parameters.easy_share,
        cut=float(easy.iloc[-1]) if len(easy) else None,
        thumbnails=_thumbnails(Cache(shown.path), list(table["image"])) if shown else (),
    )


def _thumbnails(cache: Cache, ranked: list[str]) -> tuple[Thumbnail, ...]:
    """Images at even distances in the order of rank."""
    return tuple(
        Thumbnail(name, place, np.asarray(cache.images[cache.images.index_of(name)]))
        for place, name in evenly_spaced(list(enumerate(ranked)), RANKED_SHOWN)
    )


def _data_stages(results: Results, record: RunRecord) -> dict[str, ArtifactFolder]:
    """The `prepare` artifacts that the experiment read, by what for: `evaluation` and `target` may be missing."""
    found: dict[str, ArtifactFolder] = {}
    for stage in (*record.stages, *record.selects.values()):
        planned = results.record(stage.key)
        for domain in planned.domains.values():
            for role in domain.caches:
                found.setdefault({"images": "target"}.get(role, role), results.folder(planned.parents[role]))
    for evaluated in record.evaluates.values():
        planned = results.record(evaluated.key)
        (role,) = planned.domains["data"].caches
        found.setdefault("evaluation", results.folder(planned.parents[role]))
    return found


def _looked_at(record: RunRecord) -> dict[str, ArtifactRef]:
    """What scored each training with labels, or where there are none, without."""
    shown = record.evaluates or record.selects
    return {stage.name: shown[stage.name] for stage in record.of_kind("train") if stage.name in shown}


def _gallery(results: Results, looked: Mapping[str, ArtifactRef]) -> tuple[GalleryImage, ...]:
    """Images of the evaluation split, or of the target where no labels exist; none where neither is looked at."""
    if not looked:
        return ()
    one = next(iter(looked.values()))
    planned = results.record(one.key)
    ((role,),) = (domain.caches for domain in planned.domains.values())
    return gallery_images(Cache(results.folder(planned.parents[role]).path), results.folder(one))


def _thresholds(results: Results, records: list[RunRecord]) -> pd.DataFrame | None:
    tables = []
    for record in records:
        for stage in record.of_kind("pseudolabel"):
            path = results.folder(stage).path / "thresholds.csv"
            if path.is_file():
                tables.append(pd.read_csv(path).assign(seed=record.seed))
    return pd.concat(tables, ignore_index=True) if tables else None


def _priors(results: Results, record: RunRecord, names: tuple[str, ...]) -> tuple[Picture, ...]:
    """The spatial prior of the first seed; it does not depend on the seed."""
    stages = record.of_kind("prior")
    return prior_pictures(results.folder(stages[0]), names) if stages else ()


def prior_pictures(folder: ArtifactFolder, names: tuple[str, ...]) -> tuple[Picture, ...]:
    """One picture per class, each scaled to its own largest value."""
    maps = stored_prior(folder).astype(np.float32)
    return tuple(
        Picture(name, as_bytes(one / max(float(one.max()), 1e-12)))
        for name, one in zip(names, maps, strict=True)
    )


def _software(folder: ArtifactFolder) -> dict[str, str]:
    """Versions and device of the run that made an artifact; empty when it was killed before it noted them."""
    path = folder.run / "history.json"
    if not path.is_file():
        return {}
    last = read_json(path)[-1]
    return last["software"] | {"device": last.get("device", "cpu")}


def experiment_record(results: Results, records: list[RunRecord]) -> ExperimentRecord:
    """Everything the page shows of one experiment, over its seeds."""
    first = records[0]
    kind = TASK_KINDS[first.metric]
    taxonomy = first.taxonomy
    trained = first.of_kind("train")
    runs = [
        _stage_run(results, record, stage, taxonomy, HEADLINE[kind])
        for record in records
        for stage in record.of_kind("train")
    ]
    looked, data = _looked_at(first), _data_stages(results, first)
    answers = {name: answers_of(results.folder(stage)) for name, stage in looked.items()}
    runs = [
        replace(run, answers=answers[run.stage]) if run.seed == first.seed and run.stage in answers else run
        for run in runs
    ]
    rankings = [
        ranking
        for record in records
        if (ranking := _ranking(results, record, data.get("target") if record is first else None)) is not None
    ]
    return ExperimentRecord(
        name=first.experiment,
        task=first.names["task"],
        recipe=first.title,
        network=first.names["network"],
        seeds=tuple(record.seed for record in records),
        stages=tuple(StageName(one.name, str(one.method)) for one in trained),
        runs=tuple(runs),
        class_names=tuple(taxonomy.names),
        palette=taxonomy.palette(),
        kind=kind,
        input=first.scoring.input,
        swept=first.swept,
        test_modes=tuple(dict.fromkeys(run.test_mode for run in runs)) or ("plain",),
        rankings=tuple(rankings),
        thresholds=_thresholds(results, records),
        priors=_priors(results, first, taxonomy.names),
        gallery=_gallery(results, looked),
        lists=used_lists(results, [(record, _data_stages(results, record)) for record in records]),
        taken=tuple(taken for record in records if (taken := _taken(results, record)) is not None),
        software=_software(results.folder(trained[-1])),
        costs=tuple(cost for record in records for cost in costs_of(results, record)),
        sides=data_sides(results, data, taxonomy),
        target_labels=first.target_labels,
        links=dict(zip((stage.name for stage in first.stages), link_names(first), strict=True)),
        endings=first.endings,
    )
