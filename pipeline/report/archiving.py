"""Writing the archive of an experiment: all its finished seeds, checked, in one file that is whole or not there."""

import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import IO, Literal

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.files import replacing, sha256_file
from pipeline.artifacts.folder import FILES, MANIFEST, MEMO, ArtifactFolder
from pipeline.artifacts.software import versions
from pipeline.config.shipped import place_of_shipped
from pipeline.config.suites import Suite
from pipeline.plan.records import ReportRecord, RunName, RunRecord
from pipeline.plan.stale_views import is_current
from pipeline.report.archive import TABLE, ArchiveTable, FileEntry, misplaced
from pipeline.stages.record import ArtifactRef, StageRecord, read_record
from pipeline.stages.results import Results

COMPRESSED = (".gz", ".tgz")


@dataclass
class Contents:
    """What goes into an archive: files by their name in it, with what their artifact's table says of them."""

    files: dict[str, Path] = field(default_factory=dict)
    known: dict[str, FileEntry] = field(default_factory=dict)

    def add(self, path: Path, name: Path | None = None) -> None:
        """Take a file along; its name, unless another is given, is its path from the working directory."""
        self.files[(name or path).as_posix()] = path

    def add_folder(self, folder: Path) -> None:
        """Take along all files below a folder that are no links."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                self.add(path)

    def add_artifact(self, folder: ArtifactFolder) -> None:
        """Take along a finished artifact; ArtifactError where it is damaged. Locks and what was remembered stay."""
        for name, entry in folder.load()["files"].items():
            self.add(folder.path / name)
            self.known[(folder.path / name).as_posix()] = FileEntry.model_validate(entry)
        notes = folder.run.iterdir() if folder.run.is_dir() else ()
        kept = [path for path in notes if path.name != MEMO and not path.name.startswith("lock-")]
        for path in (folder.path / FILES, folder.path / MANIFEST, *sorted(kept)):
            if path.is_file():
                self.add(path)

    def measured(self) -> dict[str, FileEntry]:
        """Size and SHA-256 of each file; artifacts were hashed when they were checked."""
        return {
            name: self.known.get(name) or FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
            for name, path in self.files.items()
        }


def finished_runs(results: Results, experiment: str) -> list[RunRecord]:
    """The records of an experiment's seeds that have finished as they were planned last, by seed."""
    folders = results.run_folder(experiment, 0).parent.glob("seed*")
    seeds = sorted(int(path.name.removeprefix("seed")) for path in folders if path.name[4:].isdigit())
    return [record for seed in seeds if (record := _finished(results, experiment, seed)) is not None]


def _finished(results: Results, experiment: str, seed: int) -> RunRecord | None:
    path = results.planned(RunName(experiment=experiment, seed=seed).key)
    if not path.is_file():
        return None
    record = read_record(path, RunRecord)
    return record if is_current(results, record, record.artifacts()) else None


def stages_of(results: Results, runs: list[RunRecord]) -> dict[str, StageRecord]:
    """The records of all stages of these runs and of their ancestors, parents first."""
    found: dict[str, StageRecord] = {}

    def visit(stage: ArtifactRef) -> None:
        if stage.key not in found:
            record = results.record(stage.key)
            for parent in record.parents.values():
                visit(parent)
            found[stage.key] = record

    for run in runs:
        for stage in run.artifacts():
            visit(stage)
    return found


@dataclass(frozen=True)
class Chosen:
    """What an archive is made of: runs of one experiment, its suite, and the files of their configuration."""

    results: Results
    suite: Suite
    runs: list[RunRecord]
    config: list[Path]

    @cached_property
    def stages(self) -> dict[str, StageRecord]:
        """The records of all stages of the runs and of their ancestors by key, parents first."""
        return stages_of(self.results, self.runs)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Keys of the stages whose artifacts are copies of a dataset's pictures."""
        return tuple(key for key, stage in self.stages.items() if stage.data is not None)

    def contents(self) -> Contents:
        """All that belongs to the runs; ArtifactError for a damaged artifact, ConfigError for a misplaced file."""
        found = Contents()
        for path in self.config:
            found.add(path, _inside(path))
        report = ReportRecord(suite=self.suite.name, runs=()).key
        for key in (*self.stages, *(run.key for run in self.runs), report):
            found.add(self.results.planned(key))
        for key, stage in self.stages.items():
            if key not in self.left_out:
                found.add_artifact(self.results.folder(stage))
        for run in self.runs:
            found.add_folder(self.results.run_folder(run.experiment, run.seed))
        found.add_folder(self.results.report(self.suite.name))
        return found

    def table(self, contents: Contents) -> ArchiveTable:
        """The table of an archive of this content."""
        return ArchiveTable(
            software={"segadapt": metadata.version("segadapt"), **versions()},
            suite=self.suite.name,
            suite_file=_inside(Path(self.suite.file)).as_posix(),
            experiment=self.runs[0].experiment,
            seeds=tuple(run.seed for run in self.runs),
            left_out=self.left_out,
            parameters={
                key: stage.parameters.model_dump(mode="json", by_alias=True)
                for key, stage in self.stages.items()
            },
            files=contents.measured(),
        )


def _inside(path: Path) -> Path:
    """The path as seen from the working directory, or where a project would have the package's file.

    ConfigError for what `import` would not put anywhere.
    """
    seen = path.absolute()
    own = seen.relative_to(Path.cwd()) if seen.is_relative_to(Path.cwd()) else seen
    inside = place_of_shipped(own) or own
    if why := misplaced(inside.as_posix()):
        raise ConfigError(f"{path}: {why}; move it there, for an archive takes nothing else along")
    return inside


def write_archive(out: Path, chosen: Chosen) -> ArchiveTable:
    """Write the archive, compressed where its name ends in .gz or .tgz, and return its table; whole or not at all.

    ArtifactError names what is damaged, or changed while it was read.
    """
    contents = chosen.contents()
    table = chosen.table(contents)
    text = table.text().encode()
    with replacing(out) as temporary:
        mode: Literal["w", "w:gz"] = "w:gz" if out.suffix in COMPRESSED else "w"
        with tarfile.open(temporary, mode, format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(_member(TABLE, len(text), 0.0), io.BytesIO(text))
            for name, path in contents.files.items():
                _add(tar, name, path, table.files[name])
    return table


def _add(tar: tarfile.TarFile, name: str, path: Path, entry: FileEntry) -> None:
    try:
        with path.open("rb") as file:
            hashed = _Hashed(file)
            tar.addfile(_member(name, entry.size, path.stat().st_mtime), hashed)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is gone since the archive was begun; start again") from error
    if hashed.digest.hexdigest() != entry.sha256:
        raise ArtifactError(f"{path} changed while it was archived; start again when nobody writes there")


def _member(name: str, size: int, time: float) -> tarfile.TarInfo:
    """A file's head: nothing of its owner."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, time, 0o644
    return member


class _Hashed(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read and hash the next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data
