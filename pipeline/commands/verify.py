"""`verify`: re-hash artifacts, follow links, report what is damaged, missing or orphaned."""

import argparse
from pathlib import Path

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import digest_of, read_json
from pipeline.artifacts.folder import FILES, ArtifactFolder
from pipeline.artifacts.program import program
from pipeline.stages.results import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these stages (default: all)")


def findings(results: Results, keys: list[str]) -> list[str]:
    """Everything wrong, one line each: damaged files, parents that are gone or were made anew, broken links."""
    folders = results.artifacts()
    unknown = [key for key in keys if key not in folders]
    if unknown:
        raise ArtifactError(f"no stage {unknown[0]} under {results.root}; `{program()} plan` lists the keys")
    absent = absent_images(results)
    lines = []
    for key in keys or folders:
        folder = folders[key]
        if not (folder.path / FILES).is_file():
            lines.append(f"{folder.path}: unfinished; run it again to go on, or `{program()} clean {key}`")
            continue
        lines += [f"{folder.path}: {problem}" for problem in folder.audit()]
        lines += _parent_findings(folder, folders, absent)
        if not results.planned(key).is_file():
            lines.append(
                f"{folder.path}: orphaned: no stage file {key}.json; no configuration planned it here"
            )
    if not keys:
        lines += [f"{link}: broken link" for link in results.links() if not link.exists()]
    return lines


def absent_images(results: Results) -> list[str]:
    """Keys of the prepared images that finished stages read and that are not here, as after an import: no damage."""
    folders = results.artifacts()
    headers = [folder.path / FILES for folder in folders.values() if (folder.path / FILES).is_file()]
    parents = {parent["key"] for path in headers for parent in _parents(path).values()}
    planned = [key for key in sorted(parents - folders.keys()) if results.planned(key).is_file()]
    return [key for key in planned if read_json(results.planned(key)).get("data") is not None]


def _parents(path: Path) -> dict[str, dict[str, str]]:
    """Key and digest of the parents by role, as a finished artifact notes them; none of a damaged one."""
    try:
        parents: dict[str, dict[str, str]] = read_json(path)["header"]["parents"]
    except ArtifactError:
        return {}  # the audit names it
    return parents


def _parent_findings(
    folder: ArtifactFolder, folders: dict[str, ArtifactFolder], absent: list[str]
) -> list[str]:
    lines = []
    for role, parent in _parents(folder.path / FILES).items():
        if parent["key"] in absent:
            continue
        other = folders.get(parent["key"])
        if other is None or not (other.path / FILES).is_file():
            lines.append(f"{folder.path}: parent {role} ({parent['key']}) is missing")
        elif (found := digest_of(read_json(other.path / FILES)["files"])) != parent["digest"]:
            lines.append(
                f"{folder.path}: parent {role} ({parent['key']}) was made anew with other content "
                f"({found[:12]} instead of {parent['digest'][:12]})"
            )
    return lines


def execute(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 1 when there are any."""
    lines = findings(Results(), arguments.keys)
    for line in lines:
        print(line)
    for key in absent_images(Results()):
        print(f"{key}: not here, no damage: images are prepared again from the data when a stage needs them")
    print(f"{len(lines)} problems" if lines else "every artifact is whole")
    return 1 if lines else 0
