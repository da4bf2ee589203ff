"""Where a run writes: looked at before anything is computed, for a folder may be somebody else's."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.artifacts.files import check_writable
from pipeline.plan.files import RESULTS, run_folder, stage_folder
from pipeline.plan.planner import PlannedRun
from pipeline.plan.stage import Stage, in_order

LOGS = Path("logs")
SNAKEMAKE = Path(".snakemake")


def check_places(runs: Iterable[PlannedRun], stages: Iterable[Stage] = ()) -> None:
    """StorageError for the first folder that these runs, and stages besides, cannot write."""
    runs = list(runs)
    needed = in_order([*(stage for run in runs for stage in run.all_stages()), *stages])
    folders = [SNAKEMAKE, RESULTS, RESULTS / "stages", RESULTS / "report", LOGS]
    folders += [place for stage in needed for place in _of_stage(stage)]
    for run in runs:
        folder = run_folder(RESULTS, run.experiment, run.seed)
        folders += [folder, folder / "model", LOGS / "experiment", LOGS / "report"]
    check_writable(dict.fromkeys([*folders, *_below(SNAKEMAKE), *_below(RESULTS / "report")]))


def _of_stage(stage: Stage) -> Iterator[Path]:
    folder = stage_folder(RESULTS, stage)
    if not (folder / "artifact.json").is_file():
        yield from (folder, *_below(folder), LOGS / stage.rule)


def _below(folder: Path) -> list[Path]:
    """The folders that are in it already."""
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
