"""`init`: look at two folders of pictures and write a ready, commented configuration for them.

python -m pipeline init --name drive --source-images rendered/rgb --source-labels rendered/ids --target-images photos
python -m pipeline start --configfile config/drive.yaml

A folder may also be a quoted pattern ('rendered/*/rgb_*.png'). Labels are 8-bit ids, colors or black-and-white
masks. The folders are only read; `docs/own-data.md` says more.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.config.load import DEFAULT_FILE, Library, load_config
from pipeline.config.yaml_files import read_yaml
from pipeline.datasets.listing import list_split
from pipeline.datasets.patterns import captured_name, matching_files
from pipeline.onboarding.class_naming import Classes, found_classes, named_classes
from pipeline.onboarding.inspection import LabelFacts, image_sizes, label_facts, told_sizes
from pipeline.onboarding.picture_folders import Pairs, Pictures, find_pictures, match, pair_up
from pipeline.onboarding.scaffold import Evaluation, Facts, configuration_files, working_sizes, write_files

STEPS = 1000
HELD_OUT = 5
"""Where every target image has a label, the last fifth by name is kept for figures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--name", required=True, help="a short name for the new configuration")
    for option, text in (
        ("--source-images", "labelled images: a folder or a quoted pattern"),
        ("--source-labels", "their labels"),
        ("--target-images", "images like those the model is for"),
    ):
        parser.add_argument(option, required=True, metavar="FOLDER", help=text)
    parser.add_argument(
        "--target-labels", metavar="FOLDER", help="labels of some of them, used for figures only"
    )
    naming = parser.add_mutually_exclusive_group()
    naming.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="YAML: `road: [1, 2]` or `road: [[128, 64, 128]]` per class",
    )
    naming.add_argument(
        "--ids",
        nargs="+",
        metavar="NAME=ID,ID",
        help="the same on the command line, e.g. road=1,2 ignore=0,255",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="working size (default: up to 512 pixels)",
    )
    parser.add_argument("--network", default="small", help="a file in config/networks/ (default: small)")
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"steps of the first training (default: {STEPS})"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files of that name")


def execute(arguments: argparse.Namespace) -> int:
    """Look, write, check that it plans, and say what to run."""
    root = DEFAULT_FILE.parent
    _check_options(arguments, root)
    facts = _look(arguments)
    paths = write_files(configuration_files(facts), root, arguments.force)
    overlay = root / f"{arguments.name}.yaml"
    _check_plans(overlay, f"{arguments.name}-source")
    _tell(facts)
    print("written:", *(f"  {path}" for path in paths), sep="\n")
    print(f"\nNow run:\n\n  python -m pipeline start --configfile {overlay}\n")
    return 0


def _check_options(arguments: argparse.Namespace, root: Path) -> None:
    if not root.is_dir():
        raise ConfigError(f"there is no folder {root}/ here; run from the folder that holds it")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", arguments.name) or len(arguments.name) > 40:
        raise ConfigError(
            f"--name {arguments.name}: needs up to 40 lower-case letters, digits and -, such as my-drive"
        )
    if arguments.steps < 1 or (arguments.size and min(arguments.size) < 32):
        raise ConfigError("--steps must be at least 1, and both sides of --size at least 32 pixels")
    Library(root).network(arguments.network, "--network")


def _look(arguments: argparse.Namespace) -> Facts:
    images = find_pictures(arguments.source_images, "--source-images")
    source = pair_up(images, find_pictures(arguments.source_labels, "--source-labels"))
    target = find_pictures(arguments.target_images, "--target-images")
    source_sizes, target_sizes = image_sizes(images), image_sizes(target)
    labels = _labels(source, "source labels")
    classes = _classes(labels, arguments)
    if len(classes.values) < 2:
        raise DataError(
            f"the labels hold {len(classes.values)} classes ({', '.join(classes.values) or 'only ignored pixels'}) and "
            "at least 2 can be told apart; is it the right folder?"
        )
    evaluation = None
    if arguments.target_labels:
        found = find_pictures(arguments.target_labels, "--target-labels")
        evaluation = _evaluation(target, found, labels, classes)
    return Facts(
        arguments.name,
        source,
        source_sizes,
        labels,
        classes,
        target,
        target_sizes,
        arguments.network,
        arguments.steps,
        evaluation,
        tuple(arguments.size) if arguments.size else None,
    )


def _labels(pairs: Pairs, what: str) -> LabelFacts:
    with tqdm(desc=what, unit="label", disable=None, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return label_facts(pairs, show)


def _classes(labels: LabelFacts, arguments: argparse.Namespace) -> Classes:
    if arguments.classes is not None:
        return named_classes(labels, read_yaml(arguments.classes), str(arguments.classes))
    if arguments.ids is not None:
        if labels.form == "colors":
            raise ConfigError("--ids: the labels are in color; name the colors in a file, see --classes")
        return named_classes(labels, _parsed_ids(arguments.ids), "--ids")
    return found_classes(labels)


def _parsed_ids(words: list[str]) -> Mapping[str, Any]:
    groups: dict[str, list[str]] = {}
    for word in words:
        name, sign, ids = word.partition("=")
        if not sign or not name or not ids:
            raise ConfigError(f"--ids {word}: needs NAME=ID,ID, such as road=1,2")
        groups.setdefault(name, []).extend(ids.split(","))
    return groups


def _evaluation(target: Pictures, found: Pictures, labels: LabelFacts, classes: Classes) -> Evaluation:
    """Which target images are kept for figures: those with a label, or the last fifth when all have one."""
    matched = match(target, found)
    if matched.lonely_labels:
        raise DataError(
            f"--target-labels: {len(matched.lonely_labels)} labels belong to no target image (first: "
            f"{matched.lonely_labels[0]}); move them away"
        )
    held = _labels(matched.pairs, "target labels")
    known = {*(value for group in classes.values.values() for value in group), *classes.ignored}
    if held.form != labels.form or set(held.pixels) - known:
        extra = [value for value in held.pixels if value not in known]
        raise DataError(
            f"--target-labels: stored as {held.form} (source: {labels.form}), values that the source labels do not "
            f"have: {extra[:10]}. Labels of another meaning need a dataset file of their own: leave --target-labels "
            "out and add a split with labels to the target's file afterwards"
        )
    names = {
        path: captured_name(captures)
        for path, captures in matching_files(matched.pairs.root, matched.pairs.images)
    }
    labelled = sorted(names[image] for image, _ in matched.pairs.files)
    unlabelled = sorted(names[image] for image in matched.lonely_images if image in names)
    if not unlabelled:
        cut = max(1, len(labelled) - max(1, len(labelled) // HELD_OUT))
        unlabelled, labelled = labelled[:cut], labelled[cut:]
    if not labelled:
        raise DataError("--target-labels: one image cannot both be trained on and scored; give more images")
    return Evaluation(matched.pairs, tuple(unlabelled), tuple(labelled))


def _check_plans(overlay: Path, source: str) -> None:
    """Plan what was written, and list the source as `prepare` will: what would stop it is told now."""
    from pipeline.plan.planner import Planner

    config = load_config([overlay])
    Planner(config).plan()
    listing = list_split(config.library.dataset(source, str(overlay)), "train", True)
    if listing.problems:
        first = listing.problems[0]
        raise DataError(
            f"config/datasets/{source}.yaml does not find every pair ({len(listing.problems)} problems, first: "
            f"{first.path}: {first.reason}); mend its patterns and run the plan verb"
        )


def _tell(facts: Facts) -> None:
    source, target = working_sizes(facts)
    kinds = {"ids8": "8-bit ids", "colors": "colors", "mask": "black-and-white masks"}
    print(f"source: {len(facts.source.files)} labelled images of {told_sizes(facts.source_sizes)}")
    print(f"target: {len(facts.target.files)} images of {told_sizes(facts.target_sizes)}")
    if facts.evaluation is None:
        print("        no labels: the run ends with figures that need none, pictures, and the model")
    else:
        print(f"        {len(facts.evaluation.train)} to adapt to, {len(facts.evaluation.val)} for figures")
    print(f"sizes:  source {source[0]}x{source[1]}, target {target[0]}x{target[1]}")
    print(f"labels: {kinds[facts.labels.form]}, {facts.labels.read} of {len(facts.source.files)} read")
    for name, values in facts.classes.values.items():
        share = sum(facts.labels.share(value) for value in values if value in facts.labels.pixels)
        print(f"  {share:7.2%}  {name}")
    ignored = sum(
        facts.labels.share(value) for value in facts.classes.ignored if value in facts.labels.pixels
    )
    if facts.classes.ignored:
        print(f"  {ignored:7.2%}  (ignored)")
