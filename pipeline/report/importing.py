"""Putting an archive in place: unpacked beside, then moved folder by folder, so that a kill leaves nothing half."""

import errno
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import make_folder, temporary_beside, write_bytes
from pipeline.config.load import DEFAULT_FILE
from pipeline.plan.records import ReportRecord, ReportsRecord, RunName, RunRecord
from pipeline.report.archive import ArchiveTable
from pipeline.report.experiment import link_stages
from pipeline.report.reports import publish
from pipeline.report.unpacking import check, check_place, unpack
from pipeline.stages.record import read_record
from pipeline.stages.results import PAGE, RESULTS, Results

ROOT = Path()
"""The folder that holds `config/` and `results/`: the working directory."""


def import_archive(archive: Path) -> tuple[ArchiveTable, list[str]]:
    """Take in an archive; returns its table and a line for each thing that stands elsewhere than it says.

    What is here already and equal stays. Killed at any moment, the same call ends it. Raises as `check`,
    `check_place` and `unpack`, before anything is put in place.
    """
    table = check(archive)
    check_place(archive, table, ROOT)
    beside = Results().importing()
    shutil.rmtree(beside, ignore_errors=True)
    try:
        unpack(archive, beside)
    except ArtifactError:
        shutil.rmtree(beside)
        raise
    placing = _Placing(table, beside)
    lines = [*placing.config(), *placing.results()]
    shutil.rmtree(beside)
    publish(Results(), ReportsRecord(), logging.getLogger("pipeline.report"))
    return table, lines


@dataclass(frozen=True)
class _Placing:
    """Moves what was unpacked to where it belongs."""

    table: ArchiveTable
    beside: Path

    def config(self) -> Iterator[str]:
        """Put configuration files where there are none; one that differs from what is there goes beside."""
        for name in self.table.below(DEFAULT_FILE.parent.name):
            content = (self.beside / name).read_bytes()
            if (ROOT / name).exists() and (ROOT / name).read_bytes() != content:
                inner = PurePosixPath(name).relative_to(DEFAULT_FILE.parent.as_posix())
                other = ROOT / DEFAULT_FILE.parent / "archived" / self.table.mark / inner
                write_bytes(other, content)
                yield f"{name} is another here and stays; that of the archive is {other}"
            elif not (ROOT / name).exists():
                write_bytes(ROOT / name, content)

    def results(self) -> Iterator[str]:
        """Put artifacts, then the folders that show them, then the page; a run's record comes with its folder."""
        runs = [RunName(experiment=self.table.experiment, seed=seed) for seed in self.table.seeds]
        report = ReportRecord(suite=self.table.suite, runs=()).key
        later = {Results().planned(key).as_posix() for key in (report, *(run.key for run in runs))}
        for name in self.table.below(Results().plan().as_posix()):
            if name not in later:
                self._move(Path(name))
        for artifact in self.table.artifacts():
            self._move(Path(artifact))
        for run in runs:
            self._place_run(run)
        yield from self._place_page(report)

    def _place_run(self, run: RunName) -> None:
        folder = Results().run_folder(run.experiment, run.seed)
        if not (ROOT / folder).exists():
            planned = self.beside / Results().planned(run.key)
            link_stages(self.beside / folder, Results(self.beside / RESULTS), read_record(planned, RunRecord))
            write_bytes(ROOT / Results().planned(run.key), planned.read_bytes())
            self._move(folder)

    def _place_page(self, report: str) -> Iterator[str]:
        folder = Results().report(self.table.suite)
        page = self.beside / folder / PAGE
        if not page.is_file():
            return
        if not (ROOT / folder).exists():
            self._move(Results().planned(report))
            self._move(folder)
        elif not (ROOT / folder / PAGE).is_file() or (ROOT / folder / PAGE).read_bytes() != page.read_bytes():
            other = Results().report(f"{self.table.suite}-of-{self.table.mark}")
            self._move(folder, other)
            yield f"{folder} has another page here and stays; that of the archive is {other / PAGE}"

    def _move(self, name: Path, to: Path | None = None) -> None:
        """Move a file or a folder as one, unless it is there already."""
        destination = ROOT / (to or name)
        if (self.beside / name).exists() and not destination.exists():
            make_folder(destination.parent)
            try:
                (self.beside / name).rename(destination)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy_over(self.beside / name, destination)


def _copy_over(source: Path, destination: Path) -> None:
    """Move between disks, as where a folder below `results/` is a link: whole or not at all."""
    beside = temporary_beside(destination)
    if source.is_dir():
        shutil.copytree(source, beside, symlinks=True)
    else:
        shutil.copy2(source, beside)
    beside.rename(destination)
