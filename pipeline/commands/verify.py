"""`verify`: re-hash artifacts, follow links, report what is damaged, missing or orphaned."""

import argparse

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import digest_of, read_json
from pipeline.artifacts.folder import FILES, ArtifactFolder
from pipeline.stages.results import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these stages (default: all)")


def findings(results: Results, keys: list[str]) -> list[str]:
    """Everything wrong, one line each: damaged files, parents that are gone or were made anew, broken links."""
    folders = results.artifacts()
    unknown = [key for key in keys if key not in folders]
    if unknown:
        raise ArtifactError(
            f"no stage {unknown[0]} under {results.root}; `python -m pipeline plan` lists the keys"
        )
    lines = []
    for key in keys or folders:
        folder = folders[key]
        if not (folder.path / FILES).is_file():
            lines.append(
                f"{folder.path}: unfinished; run it again to go on, or `python -m pipeline clean {key}`"
            )
            continue
        lines += [f"{folder.path}: {problem}" for problem in folder.audit()]
        lines += _parent_findings(folder, folders)
        if not results.planned(key).is_file():
            lines.append(
                f"{folder.path}: orphaned: no stage file {key}.json; no configuration planned it here"
            )
    if not keys:
        lines += [f"{link}: broken link" for link in results.links() if not link.exists()]
    return lines


def _parent_findings(folder: ArtifactFolder, folders: dict[str, ArtifactFolder]) -> list[str]:
    try:
        header = read_json(folder.path / FILES)["header"]
    except ArtifactError:
        return []  # the audit has named it
    lines = []
    for role, parent in header["parents"].items():
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
    print(f"{len(lines)} problems" if lines else "every artifact is whole")
    return 1 if lines else 0
