"""`clean`: list, and with --yes remove, stages: by key with all that depends on them, or all that nothing needs.

Removing waits for a run that works here, as `start` does.
"""

import argparse
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import FILES, ArtifactFolder
from pipeline.artifacts.lock import FolderLock
from pipeline.artifacts.program import program
from pipeline.commands.configuration import add_selection_arguments, chosen_configuration
from pipeline.commands.run_lock import nobody_else
from pipeline.stages.results import Results


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


def parents_of(key: str, folders: Mapping[str, ArtifactFolder], results: Results) -> set[str]:
    """Keys of a stage's parents: by its manifest, or as it is planned where it has not finished."""
    if key in folders and (finished := folders[key].path / FILES).is_file():
        return {parent["key"] for parent in read_json(finished)["header"]["parents"].values()}
    return (
        {parent.key for parent in results.record(key).parents.values()}
        if results.planned(key).is_file()
        else set()
    )


def with_dependants(keys: list[str], results: Results) -> list[str]:
    """The keys and every stage that was made from them, directly or not."""
    folders = results.artifacts()
    depends = dict.fromkeys(keys, True)

    def is_made_from_them(key: str) -> bool:
        if key not in depends:
            depends[key] = any(map(is_made_from_them, parents_of(key, folders, results)))
        return depends[key]

    return [key for key in sorted(folders) if is_made_from_them(key)]


def _unneeded(arguments: argparse.Namespace, folders: dict[str, ArtifactFolder]) -> list[str]:
    from pipeline.plan.planner import Planner
    from pipeline.plan.stage import in_order

    runs = Planner(chosen_configuration(arguments)).plan()
    needed = {stage.key for stage in in_order(stage for run in runs for stage in run.all_stages())}
    return sorted(set(folders) - needed)


def _chosen(arguments: argparse.Namespace, results: Results) -> list[ArtifactFolder]:
    """The folders that are there and are to go; ArtifactError for a key that has none."""
    folders = results.artifacts()
    unknown = [key for key in arguments.keys if key not in folders]
    if unknown:
        raise ArtifactError(f"no stage {unknown[0]} under {results.root}; `{program()} plan` lists the keys")
    keys = _unneeded(arguments, folders) if arguments.unneeded else with_dependants(arguments.keys, results)
    return [folders[key] for key in keys if key in folders]


def _remove(folder: Path) -> None:
    # The lock is taken first, so that no running stage loses its folder.
    with FolderLock(folder):
        for child in folder.iterdir():
            if child.name != "run":
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    shutil.rmtree(folder)


def _check_idle(folders: Iterable[Path]) -> None:
    """FolderBusyError before anything is removed: a job that outlived its run still reads its parents."""
    for folder in folders:
        with FolderLock(folder):
            pass


def execute(arguments: argparse.Namespace) -> int:
    """List or remove the chosen stages; removing waits for a run, which may need what is there."""
    if bool(arguments.keys) == arguments.unneeded:
        raise ConfigError(f"clean: give keys, or --unneeded; `{program()} plan` lists the keys")
    results = Results()
    chosen = _chosen(arguments, results)  # a mistake ends here, without waiting
    if not arguments.yes:
        for folder in chosen:
            print(folder.path)
        print(f"{len(chosen)} stages would be removed; add --yes to remove them")
        return 0
    with nobody_else():
        chosen = _chosen(arguments, results)  # the run that was waited for may have made more
        _check_idle(folder.path for folder in chosen)
        for folder in chosen:
            print(folder.path)
            _remove(folder.path)
    print(f"{len(chosen)} stages removed")
    return 0
