"""`clean`: list, and with --yes remove, stages: by key with all that depends on them, or all that nothing needs."""

import argparse
import shutil
from pathlib import Path

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.files import read_json
from pipeline.artifacts.lock import FolderLock
from pipeline.commands.configuration import add_selection_arguments, chosen_configuration
from pipeline.commands.verify import artifact_folders
from pipeline.plan.files import RESULTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "keys", nargs="*", metavar="KEY", help="stages to remove with everything made from them"
    )
    parser.add_argument(
        "--unneeded", action="store_true", help="every stage that no experiment of the configuration needs"
    )
    parser.add_argument("--yes", action="store_true", help="remove; without it they are only listed")
    add_selection_arguments(parser)


def parents_by_key(results: Path) -> dict[str, set[str]]:
    """The parents of every stage that has a stage file."""
    found: dict[str, set[str]] = {}
    for path in sorted((results / "stages").glob("*.json")):
        record = read_json(path)
        if isinstance(record.get("parents"), dict):
            found[record["key"]] = {parent["key"] for parent in record["parents"].values()}
    return found


def with_dependants(keys: list[str], results: Path) -> list[str]:
    """The keys and every stage that was made from them, directly or not."""
    parents = parents_by_key(results)
    chosen = set(keys)
    while True:
        more = {key for key, own in parents.items() if own & chosen} - chosen
        if not more:
            return sorted(chosen)
        chosen |= more


def _unneeded(arguments: argparse.Namespace, folders: dict[str, Path]) -> list[str]:
    from pipeline.plan.planner import Planner
    from pipeline.plan.stage import in_order

    runs = Planner(chosen_configuration(arguments)).plan()
    needed = {stage.key for stage in in_order(stage for run in runs for stage in run.all_stages())}
    return sorted(set(folders) - needed)


def execute(arguments: argparse.Namespace) -> int:
    """List or remove the chosen stages."""
    folders = artifact_folders(RESULTS)
    if bool(arguments.keys) == arguments.unneeded:
        raise ConfigError("clean: give keys, or --unneeded; `python -m pipeline plan` lists the keys")
    unknown = [key for key in arguments.keys if key not in folders]
    if unknown:
        raise ArtifactError(
            f"no stage {unknown[0]} under {RESULTS}; `python -m pipeline plan` lists the keys"
        )
    chosen = _unneeded(arguments, folders) if arguments.unneeded else with_dependants(arguments.keys, RESULTS)
    present = [key for key in chosen if key in folders]
    for key in present:
        print(folders[key])
        if arguments.yes:
            # The lock is taken first, so that no running stage loses its folder.
            with FolderLock(folders[key]):
                for child in folders[key].iterdir():
                    if child.name != "run":
                        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
            shutil.rmtree(folders[key])
    print(
        f"{len(present)} stages {'removed' if arguments.yes else 'would be removed; add --yes to remove them'}"
    )
    return 0
