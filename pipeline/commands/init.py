"""`init`: look at two folders of pictures and write a ready, commented configuration for them.

python -m pipeline init --name drive --source-images rendered/rgb --source-labels rendered/ids --target-images photos
python -m pipeline start --configfile config/drive.yaml

A folder may also be a quoted pattern ('rendered/*/rgb_*.png'). Without options, on a terminal, `init` asks for the
folders. Labels are 8-bit ids, colors or black-and-white masks. Where their values leave open what they mean, the
readings are shown and one is asked for; without a terminal `init` stops and shows what to type. The folders are only
read. The working directory becomes a project: it gets what it lacks of Snakefile, settings and profiles.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts.cores import has_quick_bfloat16
from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.artifacts.program import program
from pipeline.commands.configuration import add_offline_argument, stay_offline
from pipeline.config.load import DEFAULT_FILE, Library, load_config
from pipeline.config.shipped import check_package
from pipeline.datasets.listing import list_split
from pipeline.datasets.sizes import describe_orientations, describe_sizes, working_sizes
from pipeline.onboarding.evaluation import held_out, some_of_the_target
from pipeline.onboarding.first_network import first_network, named_network
from pipeline.onboarding.inspection import ImageFacts, image_facts
from pipeline.onboarding.label_reading import describe_labels, naming_of, read_labels
from pipeline.onboarding.layouts import tell_apart
from pipeline.onboarding.pairing import pair_up
from pipeline.onboarding.picture_folders import Pairs, Pictures, find_pictures
from pipeline.onboarding.project import make_project
from pipeline.onboarding.questions import NEEDED, ask
from pipeline.onboarding.scaffold import Evaluation, Facts, Labels, configuration_files, write_files
from pipeline.training.leases import gpus_have_bfloat16

if TYPE_CHECKING:
    from pipeline.plan.run import PlannedRun

STEPS = 320


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--name", help="a short name for the new configuration")
    for option, text in (
        ("--source-images", "labelled images: a folder or a quoted pattern"),
        ("--source-labels", "their labels"),
        ("--target-images", "images like those the model is for"),
    ):
        parser.add_argument(option, metavar="FOLDER", help=text)
    parser.add_argument(
        "--target-labels", metavar="FOLDER", help="labels of some of them, used for figures only"
    )
    parser.add_argument(
        "--heldout-images",
        metavar="FOLDER",
        help="other labelled images of the target's kind, for figures only",
    )
    parser.add_argument("--heldout-labels", metavar="FOLDER", help="their labels, named as the target's")
    for side, lead in (("source", "--"), ("target", "--target-")):
        naming = parser.add_mutually_exclusive_group()
        naming.add_argument(
            f"{lead}classes",
            type=Path,
            metavar="FILE",
            help=f"meaning of the {side} labels, as YAML: `road: [1, 2]` or `road: [[128, 64, 128]]` per class",
        )
        naming.add_argument(
            f"{lead}ids",
            nargs="+",
            metavar="NAME=ID,ID",
            help=f"the same on the command line, e.g. {lead}ids road=1,2 ignore=0,255"
            + (", or `same`: the target's values mean what the source's mean" if side == "target" else ""),
        )
        parser.add_argument(
            f"{lead}unnamed",
            choices=["error", "nearest", "ignore"],
            help=f"what becomes of pixels of the {side} labels that have another value (soft edges and the like)",
        )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="working size (default: up to 512 pixels)",
    )
    parser.add_argument(
        "--network",
        help="a file in config/networks/ (default: mobilenet-v2-frozen where its ImageNet weights can be had, else small)",
    )
    add_offline_argument(parser)
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"steps of the first training (default: {STEPS})"
    )
    parser.add_argument(
        "--ignore-hood",
        action="store_true",
        help="ignore what is one class in nearly every source image and ends sharply, as the car's own hood",
    )
    parser.add_argument(
        "--no-measure", action="store_true", help="do not make a few training steps to say how long it takes"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files of that name")


def execute(arguments: argparse.Namespace) -> int:
    """Look, write, check that it plans, and say what to run."""
    root = DEFAULT_FILE.parent
    check_package(Path())
    _complete(arguments)
    stay_offline(arguments)
    _check_options(arguments)
    folders = _find_folders(arguments)
    if not arguments.no_measure:
        import_module("pipeline.stages.measuring_server").start_server()
    _choose_network(arguments, Library(root))
    facts = _look(arguments, folders)
    paths = write_files(configuration_files(facts), root, arguments.force)
    paths += make_project(Path(), arguments.name)
    suite = root / f"{arguments.name}.yaml"
    runs = _check_plans(suite, f"{arguments.name}-source")
    _print_facts(facts)
    print("written:", *(f"  {path}" for path in paths), sep="\n")
    import_module("pipeline.onboarding.hood").offer_mask(arguments.name, Library(root), arguments.ignore_hood)
    if not arguments.no_measure:
        _print_times(facts, runs[0])
    print(f"\nNow run:\n\n  {program()} start --configfile {suite}\n")
    return 0


def _print_times(facts: Facts, run: "PlannedRun") -> None:
    """Say how long the trainings take here."""
    _, size = working_sizes(facts.source_sizes, facts.target_sizes, facts.size)
    for line in import_module("pipeline.commands.first_times").time_lines(run, size):
        print(line, flush=True)


def _complete(arguments: argparse.Namespace) -> None:
    """Ask for what is needed where nothing of it was given on a terminal; ConfigError for what is missing."""
    needed = ("name", *NEEDED)
    missing = [f"--{key.replace('_', '-')}" for key in needed if not getattr(arguments, key)]
    if len(missing) == len(needed) and sys.stdin.isatty():
        answers = ask(Path())
        vars(arguments).update(answers)
        words = [f"--{key.replace('_', '-')} {shlex.quote(text)}" for key, text in answers.items()]
        print(f"The same without questions:\n  {program()} init {' '.join(words)}\n")
    elif missing:
        raise ConfigError(f"init: needs {', '.join(missing)}; without any option it asks, on a terminal")


def _check_options(arguments: argparse.Namespace) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", arguments.name) or len(arguments.name) > 40:
        raise ConfigError(
            f"--name {arguments.name}: needs up to 40 lower-case letters, digits and -, such as my-drive"
        )
    if bool(arguments.heldout_images) != bool(arguments.heldout_labels):
        raise ConfigError("--heldout-images and --heldout-labels: give both, or neither")
    if arguments.heldout_images and arguments.target_labels:
        raise ConfigError("--target-labels, --heldout-images: figures are made on one of them; leave one out")
    if arguments.steps < 1 or (arguments.size and min(arguments.size) < 32):
        raise ConfigError("--steps must be at least 1, and both sides of --size at least 32 pixels")


def _choose_network(arguments: argparse.Namespace, library: Library) -> None:
    """Check the network that was named, or choose one; say what weights it takes, or why none."""
    if arguments.network is None:
        arguments.network, line = first_network(library)
    else:
        line = named_network(library, arguments.network)
    print(line)


@dataclass(frozen=True)
class _Folders:
    """The pictures of every side that was named, and the pairs of the source."""

    pictures: dict[str, Pictures]
    source: Pairs


def _find_folders(arguments: argparse.Namespace) -> _Folders:
    """Find all pictures and pair the source's: mistakes in folders are told before anything slow begins."""
    images = find_pictures(arguments.source_images, "--source-images")
    marks = find_pictures(arguments.source_labels, "--source-labels")
    images, marks = tell_apart(images, marks, "--source-labels")
    source = pair_up(images, marks, "--source-labels")
    target = find_pictures(arguments.target_images, "--target-images")
    found = {"source": images, "source labels": marks, "target": target}
    if arguments.heldout_images:
        images = find_pictures(arguments.heldout_images, "--heldout-images")
        labels = find_pictures(arguments.heldout_labels, "--heldout-labels")
        images, labels = tell_apart(images, labels, "--heldout-labels")
        found |= {"held-out": images, "held-out labels": labels}
    elif arguments.target_labels:
        found["target labels"] = find_pictures(arguments.target_labels, "--target-labels")
    return _Folders(found, source)


def _look(arguments: argparse.Namespace, folders: _Folders) -> Facts:
    found, source = folders.pictures, folders.source
    target = found["target"]
    source_facts, target_facts = image_facts(found["source"]), image_facts(target)
    labels = _source_labels(source, arguments)
    evaluation = _evaluation(found, labels, arguments)
    for side, pictures in found.items():
        for line in pictures.omissions:
            print(f"{side}: {line}")
    _print_turned({"source": source_facts, "target": target_facts})
    return Facts(
        arguments.name,
        source,
        source_facts.sizes,
        labels,
        target,
        target_facts.sizes,
        arguments.network,
        arguments.steps,
        _quick_bfloat16(),
        evaluation,
        tuple(arguments.size) if arguments.size else None,
    )


def _quick_bfloat16() -> bool:
    """Whether what will train here, a GPU where there is one, multiplies bfloat16 in hardware."""
    gpus = gpus_have_bfloat16()
    return has_quick_bfloat16() if gpus is None else gpus


def _print_turned(sides: Mapping[str, ImageFacts]) -> None:
    for side, facts in sides.items():
        if facts.turned:
            print(f"{side}: {facts.turned} images are turned upright as their EXIF orientation says")


def _source_labels(pairs: Pairs, arguments: argparse.Namespace) -> Labels:
    labels = read_labels(pairs, naming_of(arguments, "--"))
    classes = labels.classes.values
    if len(classes) < 2:
        raise DataError(
            f"the labels hold {len(classes)} classes ({', '.join(classes) or 'only ignored pixels'}) and at least 2 can "
            "be told apart; is it the right folder?"
        )
    return labels


def _evaluation(
    found: Mapping[str, Pictures], source: Labels, arguments: argparse.Namespace
) -> Evaluation | None:
    """What figures are made on, if anything."""
    naming = naming_of(arguments, "--target-")
    if "held-out" in found:
        return held_out(found["held-out"], found["held-out labels"], found["target"], source, naming)
    if "target labels" in found:
        return some_of_the_target(found["target"], found["target labels"], source, naming)
    return None


def _check_plans(suite: Path, source: str) -> "list[PlannedRun]":
    """Plan what was written, return the plan, and list the source as `prepare` will: what would stop it is told now."""
    from pipeline.plan.planner import Planner

    config = load_config([suite])
    runs = Planner(config).plan()
    listing = list_split(config.library.dataset(source, str(suite)), "train", True)
    if listing.problems:
        first = listing.problems[0]
        raise DataError(
            f"config/datasets/{source}.yaml does not find every pair ({len(listing.problems)} problems, first: "
            f"{first.path}: {first.reason}); fix its patterns and run the plan verb"
        )
    return runs


def _print_facts(facts: Facts) -> None:
    source, target = working_sizes(facts.source_sizes, facts.target_sizes, facts.size)
    print(f"source: {len(facts.source.files)} labelled images of {describe_sizes(facts.source_sizes)}")
    print(f"target: {len(facts.target.files)} images of {describe_sizes(facts.target_sizes)}")
    if facts.evaluation is None:
        print("        no labels: the run ends with figures that need none, pictures, and the model")
    elif facts.evaluation.is_apart:
        print(f"        and {len(facts.evaluation.val)} held-out images for figures")
    else:
        print(f"        {len(facts.evaluation.train)} to adapt to, {len(facts.evaluation.val)} for figures")
    print(f"sizes:  source {source[0]}x{source[1]}, target {target[0]}x{target[1]}")
    for side, sizes in (("source", facts.source_sizes), ("target", facts.target_sizes)):
        mixed = describe_orientations(sizes)
        if mixed:
            print(f"        {side}: {mixed}")
    print("\n".join(describe_labels(facts)))
