"""Running any file of `results/stages/`: a stage, an experiment's folder, a suite's report, or the list of these."""

from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json
from pipeline.plan.records import ReportRecord, ReportsRecord, RunRecord
from pipeline.stages.job_log import Ending, open_log
from pipeline.stages.record import Record, read_record
from pipeline.stages.results import Results
from pipeline.stages.runner import run_stage

PUBLISHERS: dict[str, tuple[type[Record], str]] = {
    "experiment": (RunRecord, "pipeline.report.experiment"),
    "report": (ReportRecord, "pipeline.report.collect"),
    "reports": (ReportsRecord, "pipeline.report.reports"),
}
"""What is no stage, by the kind in its file: it has no digest and is made anew each time."""


def run_file(path: Path, log_path: Path | None, runtime_minutes: float | None = None) -> int:
    """Run what the file describes; exit codes and `runtime_minutes` as those of `run_stage`."""
    kind = read_json(path).get("kind")
    if kind not in PUBLISHERS:
        return run_stage(path, log_path, runtime_minutes)
    model, module = PUBLISHERS[kind]
    record: Any = read_record(path, model)
    with Ending(record.key, open_log(record.key, log_path)) as ending:
        import_module(module).publish(Results.around(path), record, ending.log)
    return ending.code
