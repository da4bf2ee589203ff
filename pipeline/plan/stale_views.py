"""Experiment folders and pages that show something else than what is planned: dated back, so that they are made anew.

Snakemake remembers in `.snakemake/` what each of its files was made from. Results that were copied, restored or
unpacked come without that, and a page that is there would count as the page of any plan.
"""

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import read_json
from pipeline.config.suites import Suite
from pipeline.plan.records import RunName
from pipeline.plan.run import PlannedRun
from pipeline.stages.record import ArtifactRef
from pipeline.stages.results import MADE, Results

LONG_AGO = 86_400
"""Seconds since 1970, older than any artifact; a time of 0 Snakemake takes for none."""


def date_back_stale_views(runs: Collection[PlannedRun], suites: Iterable[Suite], results: Results) -> None:
    """Make Snakemake see views that are not of these runs as older than anything that they show.

    Nothing is removed or written; one that may not be touched stays as it is.
    """
    stale = {_key(run) for run in runs if not is_current(results, _name(run), _artifacts(run))}
    for run in runs:
        if _key(run) in stale:
            _date_back(results.metrics(run.experiment, run.seed))
    for suite in suites:
        own = {_key(run) for run in runs if run.experiment in suite.experiments}
        made = results.report(suite.name) / MADE
        if own & stale or not own <= set(_read(made).get("runs", [])):
            _date_back(made)


def is_current(results: Results, run: RunName, artifacts: Collection[ArtifactRef]) -> bool:
    """Whether a run's folder is made of exactly these artifacts, all of which have finished."""
    shown = _read(results.metrics(run.experiment, run.seed)).get("artifacts")
    return shown == sorted({one.key for one in artifacts}) and all(
        results.manifest(one).is_file() for one in artifacts
    )


def _name(run: PlannedRun) -> RunName:
    return RunName(experiment=run.experiment, seed=run.seed)


def _key(run: PlannedRun) -> str:
    return _name(run).key


def _artifacts(run: PlannedRun) -> list[ArtifactRef]:
    return [stage.record for stage in run.all_stages()]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except ArtifactError:
        return {}  # not there, or damaged: made anew
    return found if isinstance(found, dict) else {}


def _date_back(path: Path) -> None:
    with suppress(OSError):
        os.utime(path, (LONG_AGO, LONG_AGO))
