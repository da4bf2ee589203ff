"""An archive of an experiment: one tar file whose first member, `archive.json`, is the table of all others.

archive.json                   format, software, suite, experiment, seeds, parameters, size and SHA-256 of each file
config/...                     the settings, the suite, and the library files that it names
results/stages/*.json          the records of the runs and of all their stages
results/<rule>/<key>/...       every finished artifact but the prepared images, which are other people's
results/experiments/<name>/    figures and models; links are made again
results/report/<suite>/        the page
"""

import re
from pathlib import PurePosixPath
from typing import Any

from pipeline.artifacts.files import digest_of
from pipeline.artifacts.folder import FILES, MANIFEST
from pipeline.config.load import DEFAULT_FILE
from pipeline.stages.record import Record
from pipeline.stages.results import NO_RULES, RESULTS

TABLE = "archive.json"
FORMAT = 1

CONFIG_SUFFIXES = frozenset({".yaml", ".txt", ".png"})
"""Of what a configuration is made of: nothing that is ever executed."""
_NAME = re.compile(r"[A-Za-z0-9_][^\x00-\x1f\\]*")
_ROOTS = (DEFAULT_FILE.parent.name, RESULTS.name)


class FileEntry(Record):
    """What is known of a file before it is read: bytes and SHA-256 in hex."""

    size: int
    sha256: str


class ArchiveTable(Record):
    """`archive.json`. `left_out`: keys of the prepared images. `parameters`: of every stage by key, as resolved."""

    format: int = FORMAT
    software: dict[str, str]
    suite: str
    suite_file: str
    experiment: str
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    parameters: dict[str, dict[str, Any]]
    files: dict[str, FileEntry]

    @property
    def mark(self) -> str:
        """A name of this content: experiment and eight digits of the table's digest."""
        table = {name: entry.model_dump() for name, entry in self.files.items()}
        return f"{self.experiment}-{digest_of(table)[:8]}"

    def below(self, folder: str) -> list[str]:
        """Names of the files below a folder, in order."""
        return [name for name in self.files if name.startswith(f"{folder}/")]

    def artifacts(self) -> list[str]:
        """The folders `results/<rule>/<key>`, parents first."""
        parts = [PurePosixPath(name).parts for name in self.below(RESULTS.name)]
        return list(dict.fromkeys("/".join(one[:3]) for one in parts if one[1] not in NO_RULES))

    def digest(self, artifact: str) -> str:
        """The digest of an artifact's files, as its manifest has it."""
        names = {name.removeprefix(f"{artifact}/"): name for name in self.below(artifact)}
        inner = {
            short: self.files[name].model_dump()
            for short, name in names.items()
            if short not in (FILES, MANIFEST) and not short.startswith("run/")
        }
        return digest_of(inner)


def misplaced(name: str) -> str | None:
    """Why an archive may not hold a file of that name; None if it may."""
    path = PurePosixPath(name)
    plain = name == str(path) and all(_NAME.fullmatch(part) for part in path.parts)
    if not plain or path.parts[0] not in _ROOTS or len(path.parts) < 2:
        return f"lies outside of {_ROOTS[0]}/ and {_ROOTS[1]}/"
    if path.parts[0] == _ROOTS[0] and path.suffix not in CONFIG_SUFFIXES:
        return f"is no configuration: needs {', '.join(sorted(CONFIG_SUFFIXES))}"
    if path.parts[0] == _ROOTS[1] and len(path.parts) < 3:
        return "is in no folder of results"
    return None
