"""`doctor`: what is here to work with: software, devices, room on the disk, and every configured dataset.

python -m pipeline doctor [--configfile FILE]

The selected experiments' datasets and weights are checked as the run will use them; the exit code is 1 when
one of them is unusable. The others are only looked for. Nothing but file names and headers is read.
"""

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.artifacts.cores import job_cores, thread_count
from pipeline.artifacts.errors import SegadaptError
from pipeline.artifacts.software import versions
from pipeline.commands.configuration import (
    add_offline_argument,
    add_selection_arguments,
    chosen_configuration,
    stay_offline,
)
from pipeline.config.load import Config
from pipeline.config.models import DomainSplit
from pipeline.datasets.headers import picture_size
from pipeline.datasets.items import Listing
from pipeline.datasets.listing import list_split
from pipeline.datasets.raw_ids import unset_variables
from pipeline.datasets.spec import DatasetSpec
from pipeline.networks.parameters import WeightsParameters
from pipeline.plan.overrides import overridden
from pipeline.stages.results import RESULTS

SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)
    add_offline_argument(parser)


@dataclass
class Finding:
    """What was found of one dataset: lines to show, what makes it unusable, and whether any of it is here."""

    name: str
    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    present: bool = False


@dataclass(frozen=True)
class Use:
    """A split of a dataset that a selected experiment reads, with labels or without."""

    domain: DomainSplit
    with_labels: bool
    taxonomy: str
    location: str


def uses(config: Config) -> list[Use]:
    """Every split that the selected experiments read; a target's training labels are there for oracles only."""
    found: list[Use] = []
    for experiment in config.experiments.values():
        task = config.library.task(experiment.task, experiment.place("task"))
        location = f"task {experiment.task}"
        found += [Use(domain, True, task.taxonomy, location) for domain in task.source]
        recipe = config.library.recipe(experiment.recipe, experiment.place("recipe"))
        oracle = any("task.target_labels" in entry.values() for entry in recipe.stages.values())
        found.append(Use(task.target, oracle, task.taxonomy, location))
        if task.evaluate is not None:
            found.append(Use(task.evaluate, True, task.taxonomy, location))
    return list(dict.fromkeys(found))


def examine_used(config: Config, use: Use, finding: Finding) -> None:
    """Check a split as the run will read it, and note what would stop the run."""
    try:
        spec = config.library.dataset(use.domain.dataset, use.location)
        listing = list_split(spec, use.domain.split, use.with_labels)
        if use.with_labels:
            spec.lookup(config.library.taxonomy(use.taxonomy, use.location))
    except SegadaptError as error:
        finding.faults.append(str(error))
        return
    finding.present = True
    finding.lines += [describe_split(spec, listing), *describe_omitted(listing)]
    finding.faults += faults_of(listing)


def examine_other(config: Config, name: str, finding: Finding) -> None:
    """Look for every split of a dataset that no selected experiment reads."""
    try:
        spec = config.library.dataset(name, "doctor")
        if spec.format != "streets":
            if unset := unset_variables(spec.root):
                # What to set it to is said at a selected dataset alone, not once for each of them.
                finding.lines.append(f"not here: {', '.join(unset)} is not set")
                return
            spec.resolved_root()
    except SegadaptError as error:
        finding.lines.append(f"not here: {error}")
        return
    for split in spec.split_names():
        try:
            listing = list_split(spec, split, spec.split(split).has_labels)
        except SegadaptError as error:
            finding.lines.append(f"{split}: not here: {error}")
            continue
        finding.present = True
        finding.lines += [describe_split(spec, listing), *describe_omitted(listing)]
        finding.lines += [f"{split}: {fault}" for fault in faults_of(listing)]


def describe_split(spec: DatasetSpec, listing: Listing) -> str:
    """Count of a split against the published one, and the size of its first image."""
    count, expected = len(listing.items), spec.expected.get(listing.split)
    text = f"{listing.split}: {count:,} images" + ", labelled" * listing.with_labels
    if expected is not None:
        text += " (as published)" if count == expected else f", PUBLISHED: {expected:,}"
    first = listing.items[0] if listing.items else None
    if spec.format == "files" and first is not None:
        try:
            width, height = picture_size(first.image)
            text += f", {width}x{height}"
        except SegadaptError as error:
            text += f", first image: {error}"
    return text


def describe_omitted(listing: Listing) -> list[str]:
    """One line per kind of file that the split leaves out."""
    return [f"{listing.split}: {line}" for line in listing.omissions]


def faults_of(listing: Listing) -> list[str]:
    """What `prepare` would refuse, as far as names and headers show it; the first of each kind."""
    shown = [f"{bad.path}: {bad.reason}" for bad in listing.problems[:SHOWN]]
    more = len(listing.problems) - len(shown)
    return shown + ([f"... and {more} more such files"] if more > 0 else [])


def examine_weights(weights: WeightsParameters, backbone: str) -> tuple[str, bool]:
    """What is known of a network's initial weights, their licence too, and whether they are usable."""
    from pipeline.networks.fetching import is_offline
    from pipeline.networks.weight_files import find_weights, license_of  # torch is slow to import

    fetched = weights.source.startswith(("http://", "https://")) or weights.source in ("torchvision", "timm")
    licence = f"; licence: {license_of(weights, backbone) or 'not stated'}"
    try:
        # Nothing is fetched here: an offline machine learns what to bring before anything runs.
        path = None if fetched and not is_offline() else find_weights(weights, backbone)
    except SegadaptError as error:
        return f"{error}{licence}", False
    found = (
        f"{weights.source}: fetched once when first used, where there is a network"
        if path is None
        else f"{path}: found"
    )
    agrees = ", checksum agrees" * (path is not None and weights.sha256 is not None)
    return f"{found}{agrees}{licence}", True


def machine_lines() -> Iterator[str]:
    """Software, processors, memory, GPUs, room on the disk."""
    import torch

    found = ", ".join(f"{name} {version}" for name, version in versions("snakemake", "pydantic").items())
    yield f"software: {found}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield f"machine:  {platform.system()} {platform.machine()}, {job_cores()} cores, {memory:.1f} GiB memory"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            yield f"device:   cuda:{index}, {facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    else:
        yield f"device:   cpu (torch {torch.__version__} sees no GPU; built for CUDA {torch.version.cuda or 'none'})"
    place = next(folder for folder in (RESULTS.absolute(), *RESULTS.absolute().parents) if folder.is_dir())
    yield f"room:     {shutil.disk_usage(place).free / 2**30:.1f} GiB free for {RESULTS.absolute()}"


def describe_settings(config: Config) -> str:
    """How the selected experiments will be run."""
    run, determinism = config.settings.run, config.settings.determinism
    return (
        f"run:      experiments {', '.join(config.experiments)}; device {run.device}, "
        f"{thread_count(run.threads, determinism == 'exact')} threads, determinism {determinism}"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print everything; exit code 1 when something that the selected experiments need is unusable."""
    stay_offline(arguments)
    config = overridden(chosen_configuration(arguments))
    for line in (*machine_lines(), describe_settings(config)):
        print(line)
    data = os.environ.get("SEGADAPT_DATA")
    print(f"SEGADAPT_DATA: {data or 'not set; the shipped dataset files look for their folders below it'}")
    findings: dict[str, Finding] = {}
    for use in uses(config):
        finding = findings.setdefault(use.domain.dataset, Finding(use.domain.dataset))
        examine_used(config, use, finding)
    print("\nDatasets of the selected experiments:")
    for finding in findings.values():
        _show(config, finding)
    wrong = [finding.name for finding in findings.values() if finding.faults]
    wrong += _show_weights(config)
    print("\nOther datasets:")
    for name in config.library.datasets():
        if name not in findings:
            other = Finding(name)
            examine_other(config, name, other)
            _show(config, other)
    print("\nUnusable: " + ", ".join(wrong) if wrong else "\nThe selected experiments can run.")
    return 1 if wrong else 0


def _show(config: Config, finding: Finding) -> None:
    state = "UNUSABLE" if finding.faults else "ok" if finding.present else "-"
    print(f"  {finding.name} [{state}] {_root(config, finding.name)}")
    for line in dict.fromkeys(finding.lines):
        print(f"      {line}")
    for fault in dict.fromkeys(finding.faults):
        print(f"      WRONG: {fault}")


def _root(config: Config, name: str) -> str:
    try:
        spec = config.library.dataset(name, "doctor")
    except SegadaptError:
        return ""
    return "built in" if spec.format == "streets" else spec.root


def _show_weights(config: Config) -> list[str]:
    """Show the weights that the selected experiments' networks start from; returns the unusable ones' networks."""
    names = dict.fromkeys(experiment.network for experiment in config.experiments.values())
    wrong = []
    for name in names:
        network = config.library.network(name, "doctor")
        if network.weights is not None:
            text, usable = examine_weights(network.weights, network.backbone)
            print(f"  weights of network {name} [{'ok' if usable else 'UNUSABLE'}]\n      {text}")
            wrong += [] if usable else [f"weights of {name}"]
    return wrong
