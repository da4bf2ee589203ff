"""`clean`: list, and with --yes remove, stages: by key with all that depends on them, or all that nothing needs."""

import argparse
import shutil
from collections.abc import Mapping

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import FILES, ArtifactFolder
from pipeline.artifacts.lock import FolderLock
from pipeline.artifacts.program import program
from pipeline.commands.configuration import add_selection_arguments, chosen_configuration
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


def execute(arguments: argparse.Namespace) -> int:
    """List or remove the chosen stages."""
    results = Results()
    folders = results.artifacts()
    if bool(arguments.keys) == arguments.unneeded:
        raise ConfigError(f"clean: give keys, or --unneeded; `{program()} plan` lists the keys")
    unknown = [key for key in arguments.keys if key not in folders]
    if unknown:
        raise ArtifactError(f"no stage {unknown[0]} under {results.root}; `{program()} plan` lists the keys")
    chosen = _unneeded(arguments, folders) if arguments.unneeded else with_dependants(arguments.keys, results)
    present = [key for key in chosen if key in folders]
    for key in present:
        folder = folders[key].path
        print(folder)
        if arguments.yes:
            # The lock is taken first, so that no running stage loses its folder.
            with FolderLock(folder):
                for child in folder.iterdir():
                    if child.name != "run":
                        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
            shutil.rmtree(folder)
    print(
        f"{len(present)} stages {'removed' if arguments.yes else 'would be removed; add --yes to remove them'}"
    )
    return 0
