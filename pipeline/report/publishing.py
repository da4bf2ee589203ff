"""Running any file of `results/stages/`: a stage, an experiment's folder, a suite's report, or the list of these."""

import logging
from importlib import import_module
from pathlib import Path

from pipeline.stages.base import StageFile
from pipeline.stages.runner import run_logged, run_stage

PUBLISHERS = {
    "experiment": "pipeline.report.experiment",
    "report": "pipeline.report.collect",
    "reports": "pipeline.report.reports",
}
"""What is no stage: it has no key of its own and is made anew each time."""


def run_file(path: Path, log_path: Path | None, runtime_minutes: float | None = None) -> int:
    """Run what the file describes; exit codes and `runtime_minutes` as those of `run_stage`."""
    kind = StageFile.read(path).record["kind"]
    if kind not in PUBLISHERS:
        return run_stage(path, log_path, runtime_minutes)

    def publish(file: StageFile, logger: logging.Logger) -> int:
        import_module(PUBLISHERS[kind]).publish(file, logger)
        return 0

    return run_logged(path, log_path, publish)
