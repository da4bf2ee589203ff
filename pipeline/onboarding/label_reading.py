"""What the labels of both sides mean: named by the user, plain from their values, or asked for.

The target's values are named on their own, and its classes are matched with the source's by their names, never by
number: the same id often means another thing in another dataset.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.config.yaml_files import read_yaml
from pipeline.datasets.spec import Unnamed
from pipeline.datasets.taxonomy import IGNORE_NAME
from pipeline.onboarding.class_naming import (
    Classes,
    class_shares,
    describe_value,
    far_share,
    found_classes,
    named_classes,
)
from pipeline.onboarding.doubts import NEARLY, Doubt, doubt, settled_classes
from pipeline.onboarding.inspection import LabelFacts, label_facts
from pipeline.onboarding.picture_folders import Pairs
from pipeline.onboarding.scaffold import Facts, Labels
from pipeline.schema.names import nearest

SAME = "same"


@dataclass(frozen=True)
class Naming:
    """What the user said of one side's labels: names with values, `same`, and what becomes of other values.

    `lead`: how the side's options begin, `--` or `--target-`; `origin`: the option or file of the names.
    """

    lead: str
    given: Mapping[str, Any] | None
    origin: str
    same: bool
    unnamed: Unnamed | None


def naming_of(arguments: argparse.Namespace, lead: str) -> Naming:
    """The options of one side; ConfigError for what cannot be read."""
    stem = lead.strip("-").replace("-", "_")
    stem += "_" if stem else ""
    file, words = getattr(arguments, f"{stem}classes"), getattr(arguments, f"{stem}ids")
    unnamed = getattr(arguments, f"{stem}unnamed")
    if file is not None:
        return Naming(lead, read_yaml(file), str(file), False, unnamed)
    if words is None or (words == [SAME] and lead != "--"):
        return Naming(lead, None, f"{lead}ids", words is not None, unnamed)
    return Naming(lead, _parsed_ids(words, f"{lead}ids"), f"{lead}ids", False, unnamed)


def _parsed_ids(words: list[str], option: str) -> Mapping[str, Any]:
    groups: dict[str, list[str]] = {}
    for word in words:
        name, sign, ids = word.partition("=")
        if not sign or not name or not ids:
            raise ConfigError(f"{option} {word}: needs NAME=ID,ID, such as road=1,2")
        groups.setdefault(name, []).extend(ids.split(","))
    return groups


def read_labels(pairs: Pairs, naming: Naming) -> Labels:
    """Read one side's labels and settle what they mean; DataError or ConfigError where that stays open."""
    facts = _counted(pairs, naming)
    return Labels(facts, _classes(facts, naming))


def _counted(pairs: Pairs, naming: Naming) -> LabelFacts:
    side = "target labels" if naming.lead != "--" else "source labels"
    with tqdm(desc=side, unit="label", disable=None, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            return label_facts(pairs, show)
        except DataError as error:
            raise DataError(f"{side}: {error}") from error


def _classes(facts: LabelFacts, naming: Naming) -> Classes:
    if naming.given is not None:
        return _named(facts, naming.given, naming)
    if naming.unnamed is None or naming.unnamed == "error":
        return settled_classes(facts) or _asked(doubt(facts), naming)
    open_question = doubt(facts)
    if open_question is None:
        return replace(settled_classes(facts) or found_classes(facts), unnamed=naming.unnamed)
    fitting = [one.classes for one in open_question.readings if one.classes.unnamed == naming.unnamed]
    return fitting[0] if fitting else _asked(open_question, naming)


def _named(facts: LabelFacts, given: Mapping[str, Any], naming: Naming) -> Classes:
    if facts.form == "colors" and naming.origin.endswith("ids"):
        raise ConfigError(
            f"{naming.origin}: the labels are in color; name the colors in a file, see {naming.lead}classes"
        )
    # No compression keeps exact values.
    unnamed = naming.unnamed or ("nearest" if facts.lossy is not None else "error")
    classes = named_classes(facts, given, unnamed, naming.origin)
    far = far_share(facts, classes)
    if facts.lossy is not None and naming.unnamed is None and far > NEARLY:
        raise DataError(
            f"{facts.lossy}: a lossy picture, and {far:.1%} of the pixels of all labels are far from every value that "
            f"{naming.origin} names: compression has changed ids. Save the labels as PNG from their source, or accept "
            f"the nearest value by {naming.lead}unnamed nearest"
        )
    return classes


def _asked(open_question: Doubt | None, naming: Naming) -> Classes:
    """The reading that the user chooses; without a terminal, or without an answer, DataError with all of them."""
    assert open_question is not None
    side = "target: " if naming.lead != "--" else ""
    options = [one.options.replace("--", naming.lead) for one in open_question.readings]
    lines = [
        f"  {number}. {reading.text}\n     {option}"
        for number, (reading, option) in enumerate(zip(open_question.readings, options, strict=True), start=1)
    ]
    described = f"{side}{open_question.seen}.\n" + "\n".join(lines)
    number = _answer(described, len(options))
    if number is None:
        raise DataError(
            f"{described}\nAdd the options of the reading that is right, or name all values in a file ({naming.lead}classes)"
        )
    return open_question.readings[number - 1].classes


def _answer(question: str, count: int) -> int | None:
    """The number of the chosen answer, from 1; None without a terminal or for anything else."""
    if not sys.stdin.isatty():
        return None
    print(question)
    try:
        answer = input(f"Which one? 1 to {count}, anything else stops: ").strip()
    except EOFError:
        return None
    return int(answer) if answer.isdecimal() and 1 <= int(answer) <= count else None


def read_target_labels(pairs: Pairs, source: Labels, naming: Naming) -> Labels:
    """Read the target's labels and name their values; ConfigError for a class that the source does not have."""
    facts = _counted(pairs, naming)
    if naming.same:
        return Labels(facts, _as_in_source(facts, source, naming))
    if naming.given is None and set(facts.pixels) != {0, 255} and facts.lossy is None:
        return Labels(facts, _stated_as_same(facts, source, naming))
    labels = Labels(facts, _classes(facts, naming))
    known = source.classes.values
    strange = [name for name in labels.classes.values if name not in known]
    if strange:
        raise ConfigError(
            f"{naming.origin}: the source has no class `{strange[0]}`; {nearest(strange[0], known)}. Name the "
            f"target's values by the source's classes ({naming.lead}ids, {naming.lead}classes), and what has no "
            f"counterpart `{IGNORE_NAME}`"
        )
    return labels


def _as_in_source(facts: LabelFacts, source: Labels, naming: Naming) -> Classes:
    """The source's names, because the user says that the values mean the same."""
    if (facts.form == "colors") != (source.facts.form == "colors"):
        raise ConfigError(
            f"{naming.lead}ids {SAME}: the source labels are stored as {source.facts.form}, the target's as {facts.form}; "
            f"name the target's values by {naming.lead}ids or {naming.lead}classes"
        )
    classes = replace(source.classes, unnamed=naming.unnamed or source.classes.unnamed)
    missing = [value for value in facts.pixels if value not in set(classes.named())]
    if missing and classes.unnamed == "error":
        raise ConfigError(
            f"{naming.lead}ids {SAME}: the target labels hold values that the source's names do not cover: "
            f"{', '.join(describe_value(value) for value in missing[:10])}. Name them for both sides "
            f"(--classes or --ids), or the target's alone ({naming.lead}classes or {naming.lead}ids), the ones without a "
            f"class under `{IGNORE_NAME}`"
        )
    return classes


def _stated_as_same(facts: LabelFacts, source: Labels, naming: Naming) -> Classes:
    """Ask whether equal values mean the same; without a terminal, DataError with the values of both sides."""
    described = (
        "target: what do the values of the target labels mean? The same number or color often means another thing in "
        f"another dataset.\n{_side_by_side(facts, source)}\n"
        f"  1. the same as in the source\n     {naming.lead}ids {SAME}\n"
        f"  2. something else\n     {naming.lead}ids NAME=ID,ID ... or {naming.lead}classes FILE, with the source's names"
    )
    if _answer(described, 2) != 1:
        raise DataError(f"{described}\nAdd the options of the reading that is right")
    return _as_in_source(facts, source, replace(naming, same=True))


def _side_by_side(facts: LabelFacts, source: Labels) -> str:
    """Every value with its share on both sides and its name in the source."""
    names = source.classes.by_value()
    values = [*source.facts.pixels, *(value for value in facts.pixels if value not in source.facts.pixels)]
    lines = [f"  {'source':>8} {'target':>8}  value"]
    for value in values[:40]:
        shares = f"  {source.facts.share(value):8.2%} {facts.share(value):8.2%}"
        lines.append(f"{shares}  {describe_value(value)}  {names.get(value, '(no name)')}")
    return "\n".join(lines + ["  ..."] * (len(values) > 40))


def describe_labels(facts: Facts) -> list[str]:
    """How the labels of both sides are stored, and the share of every class, the sides beside each other."""
    sides = {"source": (facts.labels, len(facts.source.files))}
    if facts.evaluation is not None:
        sides["target"] = (facts.evaluation.labels, len(facts.evaluation.pairs.files))
    lines = []
    for side, (labels, count) in sides.items():
        lines.append(f"labels: {side}: {_describe_form(labels)}, {labels.facts.read} of {count} read")
        lines += [f"        {line}" for line in _describe_edges(labels)]
    tables = [class_shares(labels.facts, labels.classes) for labels, _ in sides.values()]
    lines.append(" ".join(f"{side:>8}" for side in sides) + "  share of the pixels")
    for name in dict.fromkeys(name for table in tables for name in table):
        shown = " ".join(f"{table[name]:8.2%}" if name in table else f"{'-':>8}" for table in tables)
        lines.append(f"{shown}  {'(ignored)' if name == IGNORE_NAME else name}")
    absent = [name for name, share in tables[0].items() if not share and name != IGNORE_NAME]
    if absent:
        lines.append(
            f"warning: no pixel of {', '.join(absent)} in the source labels that were read; are the values right?"
        )
    return lines


def _describe_form(labels: Labels) -> str:
    if labels.is_mask:
        return "black-and-white masks"
    return {"ids8": "8-bit ids", "grey": "shades of grey", "colors": "colors"}[labels.facts.form]


def _describe_edges(labels: Labels) -> list[str]:
    """How many pixels have a value that is not named, and what becomes of them."""
    named = set(labels.classes.named())
    others = labels.facts.shares([value for value in labels.facts.pixels if value not in named])
    if not others:
        return []
    if labels.classes.unnamed == "ignore":
        return [f"{others:.2%} of the pixels have a value without a name and are ignored"]
    far = far_share(labels.facts, labels.classes)
    return [
        f"{others:.2%} of the pixels have a value without a name and mean the nearest one, {far:.2%} from afar"
    ]
