"""Where a run writes: looked at before anything is computed, for a folder may be somebody else's."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.artifacts.files import check_writable
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import Stage, in_order
from pipeline.stages.results import REPORT, Results

LOGS = Path("logs")
SNAKEMAKE = Path(".snakemake")


def check_places(runs: Iterable[PlannedRun], stages: Iterable[Stage] = ()) -> None:
    """StorageError for the first folder that these runs, and stages besides, cannot write."""
    runs, results = list(runs), Results()
    needed = in_order([*(stage for run in runs for stage in run.all_stages()), *stages])
    folders = [SNAKEMAKE, results.root, results.plan(), results.report(), LOGS]
    folders += [place for stage in needed for place in _of_stage(results, stage)]
    for run in runs:
        folder = results.run_folder(run.experiment, run.seed)
        folders += [folder, folder / "model", LOGS / "experiment", LOGS / REPORT]
    check_writable(dict.fromkeys([*folders, *_below(SNAKEMAKE), *_below(results.report())]))


def _of_stage(results: Results, stage: Stage) -> Iterator[Path]:
    if not results.manifest(stage.record).is_file():
        folder = results.folder(stage.record).path
        yield from (folder, *_below(folder), LOGS / stage.rule)


def _below(folder: Path) -> list[Path]:
    """The folders that are in it already."""
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
