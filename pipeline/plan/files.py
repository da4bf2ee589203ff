"""The files below `results/stages/`: what the main process writes and every job reads."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.artifacts.errors import SegadaptError
from pipeline.artifacts.files import storage_error, temporary_beside
from pipeline.config.load import Config
from pipeline.config.suites import Suite
from pipeline.plan.planner import Planner
from pipeline.plan.records import ReportRecord, ReportsRecord, RunName, run_record
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import Stage, in_order
from pipeline.stages.record import Record
from pipeline.stages.results import RESULTS, Results


def _write_if_changed(path: Path, record: Record) -> None:
    """Replace the file only when its content differs; not flushed to disk, since the plan can be made again."""
    text = record.text()
    if path.is_file() and path.read_bytes() == text.encode():
        return
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def write_stages(stages: Iterable[Stage], results: Path = RESULTS) -> None:
    """Write a file for each stage and each of its ancestors; existing equal files stay untouched."""
    for stage in in_order(stages):
        _write_if_changed(Results(results).planned(stage.key), stage.record)


def write_runs(runs: Collection[PlannedRun], results: Path = RESULTS) -> None:
    """Write a file for each run and each of its stages; existing equal files stay untouched."""
    write_stages((stage for run in runs for stage in run.all_stages()), results)
    for record in map(run_record, runs):
        _write_if_changed(Results(results).planned(record.key), record)


def finished_runs(planner: Planner, results: Path = RESULTS) -> list[PlannedRun]:
    """Runs that are not selected, of suites that are, whose every stage is finished as the configuration has it now.

    One that cannot be planned, for example because its dataset is not here, has no such results.
    """
    selected = planner.config.experiments
    found = []
    for suite in planner.config.selected_suites():
        for experiment in suite.experiments.values():
            chosen = selected[experiment.name].seeds if experiment.name in selected else ()
            for seed in set(experiment.seeds) - set(chosen):
                if not Results(results).metrics(experiment.name, seed).is_file():
                    continue
                with suppress(SegadaptError):
                    found.append(planner.run(experiment, seed))
    return [run for run in found if _is_finished(run, Results(results))]


def _is_finished(run: PlannedRun, results: Results) -> bool:
    return all(results.manifest(stage.record).is_file() for stage in in_order(run.all_stages()))


def write_stage_files(
    config: Config,
    runs: Sequence[PlannedRun],
    results: Path = RESULTS,
    finished: Sequence[PlannedRun] = (),
) -> None:
    """Write a file for every planned stage, experiment and report; existing equal files stay untouched.

    `finished`: runs that are not selected and stand on their suite's page too.
    """
    shown = [*runs, *finished]
    write_runs(shown, results)
    suites = config.selected_suites()
    records: list[ReportRecord | ReportsRecord] = [
        *(ReportRecord(suite=suite.name, runs=_runs_of(suite, shown)) for suite in suites),
        ReportsRecord(),
    ]
    for record in records:
        _write_if_changed(Results(results).planned(record.key), record)


def _runs_of(suite: Suite, runs: Sequence[PlannedRun]) -> tuple[RunName, ...]:
    """Experiment and seed of the runs of a suite, in its order."""
    names = list(suite.experiments)
    own = [run for run in runs if run.experiment in suite.experiments]
    own.sort(
        key=lambda run: (names.index(run.experiment), suite.experiments[run.experiment].seeds.index(run.seed))
    )
    return tuple(RunName(experiment=run.experiment, seed=run.seed) for run in own)
