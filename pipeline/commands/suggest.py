"""`suggest`: which target images to label next, as a list and a contact sheet.

python -m pipeline suggest --configfile config/streets.yaml --experiment streets-intrada --out config/lists/mine.txt

Ranks first where that is missing, and with --train trains too. Then put labels beside the images, name the list as
`labelled: {names: lists/mine.txt}` in a suite, and run it.
"""

import argparse
from contextlib import suppress
from pathlib import Path

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.files import check_writable, write_text
from pipeline.artifacts.folder import FILES
from pipeline.artifacts.program import program
from pipeline.commands.configuration import (
    add_configuration_arguments,
    chosen_configuration,
    core_count,
    files_with,
)
from pipeline.commands.main_process import run_workflow
from pipeline.commands.run_lock import nobody_else
from pipeline.config.load import Config, Library
from pipeline.config.shipped import check_package
from pipeline.config.suites import Experiment
from pipeline.config.validation import validated
from pipeline.plan.files import write_stages
from pipeline.plan.places import check_places
from pipeline.plan.recipes import reads_labelled
from pipeline.plan.stage import Stage, in_order
from pipeline.stages.kinds import KINDS
from pipeline.stages.parameters import SuggestParameters
from pipeline.stages.results import Results

FEW = "strong-few"
"""The recipe that is proposed for a few labelled images (docs/results.md)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    fields = SuggestParameters.model_fields
    parser.add_argument(
        "--experiment", required=True, metavar="NAME", help="whose last ranking, or last model, to use"
    )
    parser.add_argument(
        "--seed", type=int, metavar="K", help="which of its seeds (default: the first of them)"
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        default=fields["count"].default,
        help=f"{fields['count'].description} (default: %(default)s)",
    )
    parser.add_argument(
        "--candidates",
        type=float,
        metavar="SHARE",
        default=fields["candidates"].default,
        help=f"{fields['candidates'].description} (default: %(default)s)",
    )
    parser.add_argument(
        "--train", action="store_true", help="train first what the experiment has not trained yet"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="copy the list there, e.g. below config/")
    parser.set_defaults(profile=None)
    parser.add_argument(
        "--cores", type=core_count, default="all", help="CPU cores for Snakemake (default: all)"
    )
    add_configuration_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run what is missing, then print where list and sheet lie and what to do with them."""
    from pipeline.plan.planner import Planner

    if arguments.out is not None and arguments.out.is_dir():
        raise ConfigError(f"--out {arguments.out}: is a folder; name the file to write the list to")
    values = {"count": arguments.count, "candidates": arguments.candidates}
    parameters = validated(SuggestParameters, values, "--count, --candidates")
    arguments.only = [arguments.experiment]
    check_package(Path())
    arguments.configfile = files_with(arguments.experiment, arguments.configfile)
    planner = Planner(chosen_configuration(arguments))
    config = planner.config
    experiment = next(iter(config.experiments.values()))
    if arguments.experiment != experiment.plain_name:
        raise ConfigError(
            f"--experiment {arguments.experiment}: needs the name of one experiment, not a pattern"
        )
    _, stage = planner.suggestion(experiment.name, parameters, arguments.seed)
    artifact = Results().folder(stage.record)
    if arguments.out is not None:
        check_writable([arguments.out.parent])
    if not artifact.is_whole():
        _refuse_to_train(stage, arguments)
        check_places([], [stage])
        write_stages([stage])
        if code := _make(stage, arguments):
            return code
    from pipeline.stages.suggest import LIST, SHEET, TABLE

    try:
        names = (artifact.path / LIST).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{artifact.path / LIST}: was removed meanwhile, as `clean` does; run the same command again"
        ) from error
    if arguments.out is not None:
        _copy(names, arguments.out)
    print(f"{names.count(chr(10))} images to label, hard and unlike each other")
    for word, file in (("list", LIST), ("table", TABLE), ("sheet", SHEET)):
        print(f"  {word:6}{artifact.path / file}")
    print(_what_to_do(config, experiment, arguments.out))
    return 0


def _refuse_to_train(stage: Stage, arguments: argparse.Namespace) -> None:
    """ConfigError where trainings are missing and --train does not ask for them: they may take hours."""
    results = Results()
    trainings = [one.record for one in in_order([stage]) if KINDS[one.kind].gives == "model"]
    missing = [one.key for one in trainings if not (results.folder(one).path / FILES).is_file()]
    if missing and not arguments.train:
        raise ConfigError(
            f"--experiment {arguments.experiment}: not trained yet: {', '.join(missing)}; add --train to do that "
            f"first, or run `{program()} start`"
        )


def _make(stage: Stage, arguments: argparse.Namespace) -> int:
    """Run the stage here if its parents are finished, else all that is missing as a workflow; the exit code."""
    results = Results()
    if not all(results.manifest(parent.record).is_file() for parent in stage.parents.values()):
        with nobody_else() as lock:
            return run_workflow(arguments, lock, str(results.manifest(stage.record)))
    # Imported late: it imports torch, and a mistake should be told at once.
    from pipeline.stages.runner import run_stage

    log = Path("logs") / stage.rule / f"{stage.key}.log"
    return run_stage(results.planned(stage.key), log)


def _copy(names: str, path: Path) -> None:
    """Write the list, but never over another one: labels may have been drawn for it."""
    if path.exists() and path.read_text(encoding="utf-8") != names:
        raise ConfigError(f"--out {path}: holds another list; name a new file, or remove this one")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, names)


def _what_to_do(config: Config, experiment: Experiment, out: Path | None) -> str:
    task = config.library.task(experiment.task, experiment.place("task"))
    spec = config.library.dataset(task.target.dataset, config.location)
    labels = spec.split(task.target.split).label_patterns
    key = f"splits.{task.target.split}.labels"
    if spec.format != "files":
        place = f"dataset {task.target.dataset} has their labels"
    elif not labels:
        place = f"draw their labels and say in {spec.location} where they lie ({key}), and their ids"
    else:
        place = f"draw their labels as {spec.resolved_root() / labels[0]} ({key} of {spec.location})"
    own = [f"{key}: {getattr(experiment, key)}, " for key in ("task", "network") if key in experiment.given]
    named = "lists/FILE.txt"
    if out is not None and out.resolve().is_relative_to(config.library.root.resolve()):
        named = out.resolve().relative_to(config.library.root.resolve()).as_posix()
        copy = ""
    else:
        copy = f"copy the list to {config.library.root / named} and "
    return (
        f"next: 1. {place}\n"
        f"      2. {copy}add to the experiments of {experiment.file}:\n"
        f"           {experiment.plain_name}-labelled: {{{''.join(own)}recipe: {FEW}, labelled: {{names: {named}}}}}\n"
        f"         (recipes that read labelled target images: {', '.join(_recipes_that_learn_from_them(config.library))})\n"
        f"      3. {program()} start --configfile {experiment.file} --only {experiment.plain_name}-labelled"
    )


def _recipes_that_learn_from_them(library: Library) -> list[str]:
    """Names of the recipes that read labelled target images; one with a mistake tells it when it is used."""
    found = []
    for name in library.recipes():
        with suppress(ConfigError):
            if reads_labelled(library.recipe(name, "suggest"), str(library.file("recipes", name))):
                found.append(name)
    return found
