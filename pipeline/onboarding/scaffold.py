"""A ready configuration for two folders of a user's own: what to write, as commented YAML, and writing it.

facts = Facts(name, source, source_sizes, labels, target, target_sizes, ...)
write_files(configuration_files(facts), Path("config"), force=False)
"""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.files import write_text
from pipeline.datasets.taxonomy import IGNORE_NAME
from pipeline.onboarding.class_naming import Classes, Value, distinct_colors
from pipeline.onboarding.inspection import LabelFacts, Size, common_size, told_sizes
from pipeline.onboarding.picture_folders import Pairs, Pictures

LONGER_SIDE = 512
SHORTEST_SIDE = 64
"""The discriminators of AdvEnt need maps of at least 32x32 pixels."""
WIDTH = 110
YAML_WORDS = r"y|n|yes|no|on|off|true|false|null"


@dataclass(frozen=True)
class Facts:
    """Everything that was found out about the folders, and what the user chose."""

    name: str
    source: Pairs
    source_sizes: Mapping[Size, int]
    labels: LabelFacts
    classes: Classes
    target: Pictures
    target_sizes: Mapping[Size, int]
    network: str
    steps: int
    evaluation: "Evaluation | None" = None
    size: Size | None = None


@dataclass(frozen=True)
class Evaluation:
    """Target images that have labels: pairs below the target dataset's root, names on either side of the cut."""

    pairs: Pairs
    train: tuple[str, ...]
    val: tuple[str, ...]


def working_sizes(facts: Facts) -> tuple[Size, Size]:
    """Working (width, height) of source and target: the target's proportions, its longer side at most 512.

    The source keeps its own proportions and gets the target's shorter side, so that objects have about the
    same size. Multiples of 8.
    """
    target = facts.size or _scaled(common_size(facts.target_sizes), LONGER_SIDE)
    source = common_size(facts.source_sizes)
    ratio = min(target) / min(source)
    return _rounded(source[0] * ratio, source[1] * ratio), target


def _scaled(size: Size, longest: int) -> Size:
    ratio = min(1.0, longest / max(size))
    ratio = max(ratio, SHORTEST_SIDE / min(size))
    return _rounded(size[0] * ratio, size[1] * ratio)


def _rounded(width: float, height: float) -> Size:
    return max(32, round(width / 8) * 8), max(32, round(height / 8) * 8)


def configuration_files(facts: Facts) -> dict[str, str]:
    """The text of every file by its path below `config/`."""
    name = facts.name
    files = {
        f"taxonomies/{name}.yaml": _taxonomy(facts),
        f"datasets/{name}-source.yaml": _source(facts),
        f"datasets/{name}-target.yaml": _target(facts),
        f"tasks/{name}.yaml": _task(facts),
        f"experiments/{name}.yaml": _experiment(facts),
        f"{name}.yaml": f"# Laid over config.yaml: python -m pipeline start --configfile config/{name}.yaml\n"
        f"experiments: [{name}]\n",
    }
    if facts.evaluation is not None:
        files[f"datasets/lists/{name}-train.txt"] = "\n".join(facts.evaluation.train) + "\n"
        files[f"datasets/lists/{name}-val.txt"] = "\n".join(facts.evaluation.val) + "\n"
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
    return text if plain else json.dumps(text)


def _listed(value: Value) -> str:
    return str(value) if isinstance(value, int) else f"[{value[0]}, {value[1]}, {value[2]}]"


def _share_of(facts: LabelFacts, values: Sequence[Value]) -> float:
    return sum(facts.share(value) for value in values if value in facts.pixels)


def _taxonomy(facts: Facts) -> str:
    names = list(facts.classes.values)
    colors = distinct_colors(len(names))
    if facts.labels.form == "colors":
        # A class of several colors is shown in its first.
        colors = [value[0] for value in facts.classes.values.values() if not isinstance(value[0], int)]
    what = {"ids8": "raw ids", "colors": "colors", "mask": "raw ids"}[facts.labels.form]
    lines = [
        f"# The classes by id, from the {what} in {facts.labels.read} labels, with their share of the pixels.",
        "# Better names: here and under `ids` or `colors` of the dataset files.",
        f"name: {facts.name}",
        "classes:",
    ]
    for (name, values), color in zip(facts.classes.values.items(), colors, strict=True):
        shown = ", ".join(_listed(value) for value in values)
        share = _share_of(facts.labels, values)
        lines.append(f"  - {{name: {_word(name)}, color: {_listed(color)}}}  # {shown}: {share:.2%}")
    lines += [
        "# things: []  # classes of countable objects",
        "# rare: []    # classes that `ranking: rare_code` counts",
    ]
    return "\n".join(lines) + "\n"


def _meaning(facts: Facts) -> str:
    """The lines of a dataset file that say what labels mean."""
    groups = dict(facts.classes.values)
    if facts.classes.ignored:
        groups[IGNORE_NAME] = facts.classes.ignored
    if facts.labels.form == "colors":
        entries = [
            f"{_word(name)}: [{', '.join(_listed(value) for value in values)}]"
            for name, values in groups.items()
        ]
        return "labels_as: colors\n" + _wrapped("colors", entries)
    entries = [
        f"{_word(name)}: " + (str(values[0]) if len(values) == 1 else str(list(values)))
        for name, values in groups.items()
    ]
    return "labels_as: mask  # brighter than 127: 1\n" * (facts.labels.form == "mask") + _wrapped(
        "ids", entries
    )


def _split(images: str, labels: str | None, listed: str | None = None) -> str:
    keys = [f"images: {json.dumps(images)}"]
    keys += [f"labels: {json.dumps(labels)}"] if labels else []
    keys += [f"list: {listed}"] if listed else []
    return "{" + ", ".join(keys) + "}"


def _source(facts: Facts) -> str:
    pairs = facts.source
    return (
        f"# Labelled source: {len(pairs.files)} images of {told_sizes(facts.source_sizes)}.\n"
        f"root: {json.dumps(str(pairs.root))}\n"
        "splits:\n"
        f"  train: {_split(pairs.images, pairs.labels)}\n" + _meaning(facts)
    )


def _target(facts: Facts) -> str:
    told = f"{len(facts.target.files)} images of {told_sizes(facts.target_sizes)}"
    if facts.evaluation is None:
        return (
            f"# Unlabelled target: {told}. For figures add a split with `labels`, and `evaluate` in the task.\n"
            f"root: {json.dumps(str(facts.target.root))}\n"
            "splits:\n"
            f"  train: {_split(facts.target.pattern, None)}\n"
        )
    pairs, lists = facts.evaluation.pairs, f"./lists/{facts.name}"
    return (
        f"# Target: {told}. Training opens no label of it; the images of `val` are kept out of training.\n"
        f"root: {json.dumps(str(pairs.root))}\n"
        "splits:\n"
        f"  train: {_split(pairs.images, None, f'{lists}-train.txt')}\n"
        f"  val: {_split(pairs.images, pairs.labels, f'{lists}-val.txt')}\n" + _meaning(facts)
    )


def _task(facts: Facts) -> str:
    (width, height), target = working_sizes(facts)
    shown = f"[{target[0]}, {target[1]}]"
    lines = [
        "# Sizes are width and height in pixels at which the network works; larger ones cost time and see more.",
        f"taxonomy: {facts.name}",
        f"source: {{dataset: {facts.name}-source, split: train, size: [{width}, {height}]}}",
        f"target: {{dataset: {facts.name}-target, split: train, size: {shown}}}",
    ]
    if facts.evaluation is not None:
        lines.append(f"evaluate: {{dataset: {facts.name}-target, split: val, size: {shown}}}")
    if facts.labels.form == "mask":
        lines.append("metric: dice")
    return "\n".join(lines) + "\n"


def _experiment(facts: Facts) -> str:
    later = max(1, facts.steps * 2 // 3)
    return f"""\
# IntraDA from scratch, sized for a machine without a GPU. Better, with time or a GPU: more steps, and a network
# with ImageNet weights (config/networks/: mobilenet-v3-large, resnet50). All keys: docs/parameters.md
task: {facts.name}
recipe: intrada
network: {facts.network}
seeds: [0]
set:
  train:
    batch: 4
    optimiser: {{kind: adamw, lr: 0.001, head_lr_mult: 1.0}}
    augmentation:
      # Mirrored pictures must mean the same: remove `flip` for text and the like.
      source: {{flip: 0.5, color: {{brightness: 0.4, contrast: 0.4, saturation: 0.5, hue: 0.05, blur: 0.5}}}}
      target: {{flip: 0.5}}
    snapshots: {min(3, later)}
  source: {{steps: {facts.steps}}}
  inter: {{steps: {later}}}
  intra: {{steps: {later}}}
  select: {{images: 100}}
"""
