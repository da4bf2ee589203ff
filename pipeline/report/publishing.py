"""Running any file of `results/stages/`: a stage, an experiment's folder, or the report."""

from importlib import import_module
from pathlib import Path

from pipeline.stages.base import StageFile
from pipeline.stages.job_log import Ending, open_log
from pipeline.stages.runner import run_stage

PUBLISHERS = {"experiment": "pipeline.report.experiment", "report": "pipeline.report.collect"}
"""What is no stage: it has no key of its own and is made anew each time."""


def run_file(path: Path, log_path: Path | None, runtime_minutes: float | None = None) -> int:
    """Run what the file describes; exit codes and `runtime_minutes` as those of `run_stage`."""
    file = StageFile.read(path)
    publisher = PUBLISHERS.get(file.record["kind"])
    if publisher is None:
        return run_stage(path, log_path, runtime_minutes)
    with Ending(open_log(str(file.record["key"]), log_path)) as ending:
        import_module(publisher).publish(file, ending.log)
    return ending.code
