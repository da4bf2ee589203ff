"""`report`: the page of a suite, over all its experiments with results; reads what their folders link to."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.artifacts.files import read_json, write_json, write_text
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.overlays import as_bytes
from pipeline.report.gallery import gallery_rows
from pipeline.report.lists import used_lists
from pipeline.report.model import (
    ExperimentRecord,
    Picture,
    RankingRecord,
    ReportData,
    Score,
    StageName,
    TaskKind,
    Unfinished,
)
from pipeline.report.model import StageRun as RunRecord
from pipeline.report.page import build_report
from pipeline.report.tables import text_table, write_tables
from pipeline.report.unfinished import unfinished_stages
from pipeline.stages.base import StageFile
from pipeline.stages.inputs import taxonomy_of
from pipeline.stages.prior import stored_prior

TASK_KINDS: dict[str, TaskKind] = {"miou": "segmentation", "dice": "binary", "accuracy": "classification"}
Record = Mapping[str, Any]


def publish(file: StageFile, log: logging.Logger) -> None:
    """Write `report/<suite>/index.html` and the tables as CSV and JSON beside it; at last `report.json`.

    A run that has not finished gives no figures; the page says where it stopped, and why. Such a page is not the
    rule's, which would count as made: then there is no `report.json`.
    """
    by_experiment: dict[str, list[Record]] = {}
    for run in file.record["runs"]:
        name = f"experiment-{run['experiment']}-seed{run['seed']}"
        by_experiment.setdefault(run["experiment"], []).append(read_json(file.path.parent / f"{name}.json"))
    experiments: list[ExperimentRecord] = []
    unfinished: list[Unfinished] = []
    for planned in by_experiment.values():
        stages = [unfinished_stages(file.results, record) for record in planned]
        finished = [record for record, missing in zip(planned, stages, strict=True) if not missing]
        unfinished += itertools.chain(*stages)
        if finished:
            seeds = tuple(record["seed"] for record in planned)
            experiments.append(replace(experiment_record(file.results, finished), seeds=seeds))
    out = file.results / "report" / file.record["suite"] / "index.html"
    title = f"Adaptation results: {file.record['suite']}"
    data = ReportData(tuple(experiments), title, unfinished=tuple(unfinished))
    write_tables(data, out.parent)
    write_text(out.parent / "summary.txt", text_table(data))
    build_report(data, out)
    if unfinished:
        (out.parent / "report.json").unlink(missing_ok=True)
    else:
        write_json(out.parent / "report.json", {"runs": file.record["runs"]})
    log.info("finished: %s", out)


def _folder(results: Path, parent: Record) -> ArtifactFolder:
    return ArtifactFolder(results / parent["rule"] / parent["key"])


def headline_metrics(figures: Record, taxonomy: Taxonomy) -> dict[str, float]:
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


def _score(figures: Record, folder: ArtifactFolder, taxonomy: Taxonomy) -> Score:
    matrix = pd.read_csv(folder.path / f"confusion-{figures['step']:08d}.csv", index_col="label")
    return Score(
        figures["step"], headline_metrics(figures, taxonomy), figures["iou"], matrix.to_numpy(dtype=np.int64)
    )


def _stage_run(results: Path, record: Record, stage: Record, taxonomy: Taxonomy, headline: str) -> RunRecord:
    trained = _folder(results, stage)
    scores: dict[str, Score] = {}
    snapshots = None
    mode = "plain"
    if stage["name"] in record["evaluates"]:
        evaluated = _folder(results, record["evaluates"][stage["name"]])
        metrics = read_json(evaluated.path / "metrics.json")
        mode = metrics["test_mode"]
        scores = {
            selection: _score(metrics[selection], evaluated, taxonomy)
            for selection in ("last", "label_free", "oracle_best")
            if selection in metrics
        }
        table = pd.read_csv(evaluated.path / "metrics.csv")
        column = {"mIoU": "miou_present", "accuracy": "pixel_accuracy"}.get(headline)
        if column:
            snapshots = table[["step", column]].rename(columns={column: headline})
    figures: dict[str, float] = {}
    if stage["name"] in record["selects"]:
        selection_table = pd.read_csv(
            _folder(results, record["selects"][stage["name"]]).path / "selection.csv"
        )
        figures = {
            name: float(selection_table[name].iloc[-1]) for name in ("entropy", "information_maximisation")
        }
    return RunRecord(
        stage=stage["name"],
        method=stage["method"],
        seed=record["seed"],
        key=stage["key"],
        test_mode=mode,
        scores=scores,
        label_free_figures=figures,
        curves=pd.read_csv(trained.path / "metrics.csv"),
        snapshots=snapshots,
    )


def _ranking(results: Path, record: Record) -> RankingRecord | None:
    split = next((stage for stage in record["stages"] if stage["kind"] == "split"), None)
    if split is None:
        return None
    folder = _folder(results, split)
    table = pd.read_csv(folder.path / "split.csv")
    easy = table.loc[table["split"] == "easy", "score"]
    return RankingRecord(
        seed=record["seed"],
        scores=table["score"].to_numpy(),
        easy=len(easy),
        hard=len(table) - len(easy),
        easy_share=folder.load()["parameters"]["lambda"],
        cut=float(easy.iloc[-1]) if len(easy) else None,
    )


def _data_stages(results: Path, record: Record) -> dict[str, ArtifactFolder]:
    """The `prepare` artifacts that the experiment read, by what for."""
    found: dict[str, ArtifactFolder] = {}
    for stage in record["stages"]:
        for role, parent in read_json(results / "stages" / f"{stage['key']}.json")["parents"].items():
            if parent["rule"] == "prepare":
                found.setdefault({"images": "target"}.get(role, role), _folder(results, parent))
    for parent in record["evaluates"].values():
        data = read_json(results / "stages" / f"{parent['key']}.json")["parents"]["data"]
        found.setdefault("evaluation", _folder(results, data))
    return found


def _thresholds(results: Path, records: list[Record]) -> pd.DataFrame | None:
    tables = []
    for record in records:
        for stage in record["stages"]:
            path = _folder(results, stage).path / "thresholds.csv"
            if stage["kind"] == "pseudolabel" and path.is_file():
                tables.append(pd.read_csv(path).assign(seed=record["seed"]))
    return pd.concat(tables, ignore_index=True) if tables else None


def _priors(results: Path, record: Record, names: tuple[str, ...]) -> tuple[Picture, ...]:
    """The spatial prior of the first seed; it does not depend on the seed."""
    stages = [stage for stage in record["stages"] if stage["kind"] == "prior"]
    return prior_pictures(_folder(results, stages[0]), names) if stages else ()


def prior_pictures(folder: ArtifactFolder, names: tuple[str, ...]) -> tuple[Picture, ...]:
    """One picture per class, each scaled to its own largest value."""
    maps = stored_prior(folder).float().numpy()
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


def experiment_record(results: Path, records: list[Record]) -> ExperimentRecord:
    """Everything the page shows of one experiment, over its seeds."""
    first = records[0]
    kind = TASK_KINDS[first["metric"]]
    headline = {"segmentation": "mIoU", "binary": "Dice", "classification": "accuracy"}[kind]
    data = _data_stages(results, first)
    taxonomy = taxonomy_of(next(iter(data.values())))
    trained = [stage for stage in first["stages"] if stage["kind"] == "train"]
    runs = [
        _stage_run(results, record, stage, taxonomy, headline)
        for record in records
        for stage in record["stages"]
        if stage["kind"] == "train"
        and (stage["name"] in record["evaluates"] or stage["name"] in record["selects"])
    ]
    rankings = [ranking for record in records if (ranking := _ranking(results, record)) is not None]
    return ExperimentRecord(
        name=first["experiment"],
        task=first["names"]["task"],
        recipe=first["title"],
        network=first["names"]["network"],
        seeds=tuple(record["seed"] for record in records),
        stages=tuple(
            StageName(stage["name"], stage["method"])
            for stage in trained
            if stage["name"] in {run.stage for run in runs}
        ),
        runs=tuple(runs),
        class_names=tuple(taxonomy.names),
        palette=taxonomy.palette(),
        kind=kind,
        test_modes=tuple(dict.fromkeys(run.test_mode for run in runs)) or ("plain",),
        rankings=tuple(rankings),
        thresholds=_thresholds(results, records),
        priors=_priors(results, first, taxonomy.names),
        gallery=tuple(gallery_rows(results, first, data, trained)),
        lists=used_lists(results, [(record, _data_stages(results, record)) for record in records]),
        software=_software(_folder(results, trained[-1])),
    )
