"""A ready configuration for two folders of a user's own: what to write, as commented YAML, and writing it.

facts = Facts(name, source, source_sizes, labels, target, target_sizes, ...)
write_files(configuration_files(facts), Path("config"), force=False)
"""

import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.files import write_text
from pipeline.artifacts.program import program
from pipeline.datasets.class_colors import class_colors
from pipeline.datasets.name_lists import list_text
from pipeline.datasets.sizes import describe_sizes, working_sizes
from pipeline.datasets.taxonomy import IGNORE_NAME
from pipeline.numerics import WidthHeight
from pipeline.onboarding.class_naming import (
    Classes,
    class_shares,
    describe_ids,
    describe_value,
)
from pipeline.onboarding.first_network import SCRATCH
from pipeline.onboarding.inspection import LabelFacts, Value
from pipeline.onboarding.picture_folders import Pairs, Pictures

WIDTH = 110
LARGEST_CROP = (320, 240)
"""Width and height, as far as two cores bring in ten minutes; the other way round for portrait images."""
PRETRAINED = 2, "lr: 0.0002, head_lr_mult: 5.0"
"""Images in a batch, and learning rates."""
FROM_SCRATCH = 4, "lr: 0.001, head_lr_mult: 1.0"
YAML_WORDS = r"y|n|yes|no|on|off|true|false|null"


@dataclass(frozen=True)
class Labels:
    """What the labels of one side hold, and what their values mean."""

    facts: LabelFacts
    classes: Classes

    @property
    def is_mask(self) -> bool:
        """Whether there are two classes, and white is one of them: an object and what is not the object."""
        white = any(255 in group for group in self.classes.values.values())
        return white and len(self.classes.values) == 2


@dataclass(frozen=True)
class Facts:
    """Everything that was found out about the folders, and what the user chose."""

    name: str
    source: Pairs
    source_sizes: Mapping[WidthHeight, int]
    labels: Labels
    target: Pictures
    target_sizes: Mapping[WidthHeight, int]
    network: str
    steps: int
    quick_bfloat16: bool = False
    evaluation: "Evaluation | None" = None
    size: WidthHeight | None = None


@dataclass(frozen=True)
class Evaluation:
    """Images of the target's kind that have labels, below one root, and the names on either side of the cut.

    `labels`: what these labels hold and mean. `train`: of the target images to adapt to, none where all that is
    kept for figures lies in a folder of its own.
    """

    pairs: Pairs
    labels: Labels
    train: tuple[str, ...]
    val: tuple[str, ...]

    @property
    def is_apart(self) -> bool:
        """Whether they lie in a folder of their own and are a dataset of their own."""
        return not self.train


def configuration_files(facts: Facts) -> dict[str, str]:
    """The text of every file by its path below `config/`."""
    name = facts.name
    files = {
        f"taxonomies/{name}.yaml": _taxonomy(facts),
        f"datasets/{name}-source.yaml": _source(facts),
        f"datasets/{name}-target.yaml": _target(facts),
        f"tasks/{name}.yaml": _task(facts),
        f"{name}.yaml": _suite(facts),
    }
    if facts.evaluation is not None and facts.evaluation.is_apart:
        files[f"datasets/{name}-heldout.yaml"] = _held_out(facts.evaluation)
    elif facts.evaluation is not None:
        files[f"datasets/lists/{name}-train.txt"] = list_text(facts.evaluation.train)
        files[f"datasets/lists/{name}-val.txt"] = list_text(facts.evaluation.val)
    return files


def write_files(files: Mapping[str, str], root: Path, force: bool) -> list[Path]:
    """Write all files below `root`, or none: ConfigError names those that exist, unless `force`."""
    paths = {root / path: text for path, text in files.items()}
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise ConfigError(
            f"there already {'is' if len(existing) == 1 else 'are'} {', '.join(map(str, existing))}; choose another "
            "--name, or --force to overwrite"
        )
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)


def _wrapped(key: str, entries: Sequence[str], brackets: str = "{}") -> str:
    """`key: {a, b, ...}` in lines of at most 110 characters."""
    body = ",\0".join(entries).replace(" ", "\1").replace("\0", " ")
    text = f"{key}:\1{brackets[0]}{body}{brackets[1]}"
    lines = textwrap.wrap(
        text, WIDTH, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace("\1", " ") + "\n"


def _word(text: str) -> str:
    """A YAML key or value that reads as text: quoted where YAML would take it for something else."""
    plain = re.fullmatch(r"[A-Za-z][\w -]*", text) and not re.fullmatch(YAML_WORDS, text.lower())
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    """A text in double quotes, as YAML reads it back, whatever it holds."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize).strip()


def _taxonomy(facts: Facts) -> str:
    labels, values = facts.labels.facts, facts.labels.classes.values
    # A class of several colors is shown in its first.
    own = [group[0] for group in values.values() if not isinstance(group[0], int)]
    colors = class_colors(list(values), own)
    what = "colors" if labels.form == "colors" else "values"
    lines = [
        f"# The classes by id, from the {what} in {labels.read} source labels, with their share of the pixels.",
        "# Better names: here and under `ids` or `colors` of the dataset files.",
        f"name: {facts.name}",
        "classes:",
    ]
    shares = class_shares(labels, facts.labels.classes)
    for (name, group), color in zip(values.items(), colors, strict=True):
        entry = f"{{name: {_word(name)}, color: {describe_value(color)}}}"
        lines.append(f"  - {entry}  # {_shown(group)}: {shares[name]:.2%}")
    lines += [
        "# things: []  # classes of countable objects",
        "# rare: []    # classes that `ranking: rare_code` counts",
    ]
    return "\n".join(lines) + "\n"


def _shown(values: Sequence[Value]) -> str:
    if all(isinstance(value, int) for value in values):
        return describe_ids(values)
    return ", ".join(describe_value(value) for value in values)


def _meaning(labels: Labels) -> str:
    """The lines of a dataset file that say what labels mean."""
    groups = dict(labels.classes.values)
    if labels.classes.ignored:
        groups[IGNORE_NAME] = labels.classes.ignored
    form = labels.facts.form
    lines = {
        "ids8": "",
        "grey": "labels_as: grey  # the grey level is the id\n",
        "colors": "labels_as: colors\n",
    }[form]
    if labels.classes.unnamed != "error":
        lines += f"unnamed: {labels.classes.unnamed}  # what becomes of pixels of another value\n"
    entries = [f"{_word(name)}: {_listed(values)}" for name, values in groups.items()]
    return lines + _wrapped("colors" if form == "colors" else "ids", entries)


def _listed(values: Sequence[Value]) -> str:
    """Values as a dataset file takes them: `7`, `[0, "4-6"]`, `[[128, 64, 128]]`."""
    if not all(isinstance(value, int) for value in values):
        return f"[{', '.join(describe_value(value) for value in values)}]"
    words = [word if word.isdigit() else _quoted(word) for word in describe_ids(values).split(",")]
    return words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _pattern(patterns: Sequence[str]) -> str:
    quoted = [_quoted(pattern) for pattern in patterns]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"


def _split(images: Sequence[str], labels: Sequence[str], listed: str | None = None) -> str:
    keys = [f"images: {_pattern(images)}"]
    keys += [f"labels: {_pattern(labels)}"] if labels else []
    keys += [f"list: {listed}"] if listed else []
    return "{" + ", ".join(keys) + "}"


def _dataset(about: str, root: Path, splits: Mapping[str, str], labels: Labels | None) -> str:
    """A dataset file: a comment, the folder, the splits, and what the values of its labels mean."""
    lines = [f"# {about}", f"root: {_quoted(str(root))}", "splits:"]
    lines += [f"  {name}: {files}" for name, files in splits.items()]
    return "\n".join(lines) + "\n" + (_meaning(labels) if labels else "")


def _source(facts: Facts) -> str:
    pairs = facts.source
    about = f"Labelled source: {len(pairs.files)} images of {describe_sizes(facts.source_sizes)}."
    return _dataset(about, pairs.root, {"train": _split(pairs.images, pairs.labels)}, facts.labels)


def _target(facts: Facts) -> str:
    described = f"{len(facts.target.files)} images of {describe_sizes(facts.target_sizes)}"
    if facts.evaluation is None or facts.evaluation.is_apart:
        advice = " For figures add a split with `labels`, and `evaluate` in the task."
        about = f"Unlabelled target: {described}.{advice if facts.evaluation is None else ''}"
        return _dataset(about, facts.target.root, {"train": _split(facts.target.patterns, ())}, None)
    pairs, lists = facts.evaluation.pairs, f"./lists/{facts.name}"
    about = (
        f"Target: {described}. Training opens no label of it; the images of `val` are kept out of training."
    )
    splits = {
        "train": _split(pairs.images, (), f"{lists}-train.txt"),
        "val": _split(pairs.images, pairs.labels, f"{lists}-val.txt"),
    }
    return _dataset(about, pairs.root, splits, facts.evaluation.labels)


def _held_out(evaluation: Evaluation) -> str:
    pairs = evaluation.pairs
    about = f"Held out for figures: {len(pairs.files)} images of the target's kind that no training reads."
    return _dataset(about, pairs.root, {"val": _split(pairs.images, pairs.labels)}, evaluation.labels)


def _task(facts: Facts) -> str:
    (width, height), target = working_sizes(facts.source_sizes, facts.target_sizes, facts.size)
    shown = f"[{target[0]}, {target[1]}]"
    lines = [
        "# Sizes are width and height in pixels at which the network works; larger ones cost time and see more.",
        f"taxonomy: {facts.name}",
        f"source: {{dataset: {facts.name}-source, split: train, size: [{width}, {height}]}}",
        f"target: {{dataset: {facts.name}-target, split: train, size: {shown}}}",
    ]
    if facts.evaluation is not None:
        dataset = f"{facts.name}-{'heldout' if facts.evaluation.is_apart else 'target'}"
        lines.append(f"evaluate: {{dataset: {dataset}, split: val, size: {shown}}}")
    if facts.labels.is_mask:
        lines.append("metric: dice")
    return "\n".join(lines) + "\n"


def _crop(facts: Facts) -> WidthHeight:
    """What a training sees of an image: at most 320x240, of one size for both sides, whose classes are pasted."""
    (source_width, source_height), target = working_sizes(facts.source_sizes, facts.target_sizes, facts.size)
    most = LARGEST_CROP if target[0] >= target[1] else LARGEST_CROP[::-1]
    return min(source_width, target[0], most[0]), min(source_height, target[1], most[1])


def _suite(facts: Facts) -> str:
    later = max(1, facts.steps * 2 // 5)
    crop = "[{}, {}]".format(*_crop(facts))
    batch, rates = FROM_SCRATCH if facts.network == SCRATCH else PRETRAINED
    precision = "    precision: bfloat16  # this machine has it in hardware\n" if facts.quick_bfloat16 else ""
    return f"""\
# {program()} start --configfile config/{facts.name}.yaml
# A mean teacher, then easy to hard (docs/methods/mean-teacher.md), sized for a machine without a GPU. Better, with time
# or a GPU: more steps, and a larger network with weights (docs/networks.md). All keys: docs/parameters.md
task: {facts.name}
network: {facts.network}
seeds: [0]
set:
  train:
    batch: {batch}
{precision}    optimiser: {{kind: adamw, {rates}}}
    augmentation:
      # Mirrored pictures must mean the same: remove `flip` for text and the like.
      source:
        crop: {crop}
        flip: 0.5
        color: {{brightness: 0.4, contrast: 0.4, saturation: 0.5, hue: 0.05, blur: 0.5}}
      target: {{crop: {crop}, flip: 0.5}}
      labelled: {{crop: {crop}, flip: 0.5}}
    snapshots: {min(2, later)}
  source: {{steps: {facts.steps}}}
  inter: {{steps: {later}}}
  intra: {{steps: {later}}}
  select: {{images: 24}}

# Each has what differs from the lines above.
experiments:
  {facts.name}: {{recipe: strong}}
  {facts.name}-source-only: {{recipe: source-only}}  # what the same network does without the target
"""
