"""Opening what other stages published: caches, taxonomies, networks, label maps, splits."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.data.cache import Cache
from pipeline.data.domain import Domain
from pipeline.data.records import Records
from pipeline.data.soft_labels import SoftLabels, has_soft_labels
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.passes import PassSettings
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.files import load_network
from pipeline.numerics.portions import source_subset
from pipeline.stages.base import Job
from pipeline.stages.progress import Progress
from pipeline.stages.record import NetworkUsed
from pipeline.stages.snapshots import snapshot_path, snapshot_steps
from pipeline.training.devices import choose_device, configure_determinism
from pipeline.training.parameters import TrainParameters


def cache_of(folder: ArtifactFolder) -> Cache:
    """The cache of a `prepare` artifact."""
    return Cache(folder.path)


def chosen_step(job: Job[Any], role: str, choice: str) -> int:
    """The step that `last`, `label_free` or a number means for the parent `role`."""
    steps = snapshot_steps(job.parent(role))
    if choice == "last":
        return steps[-1]
    if job.record.selection is not None:
        return int(job.summary(job.record.selection)["label_free"])
    if int(choice) not in steps:
        raise ArtifactError(f"{job.parent(role).path}: no snapshot of step {choice}; there are {steps}")
    return int(choice)


def network_of(job: Job[Any], role: str, choice: str) -> tuple[SegmentationNetwork, int]:
    """A parent's network in eval mode on the stage's device, and the step it was taken at."""
    step = chosen_step(job, role, choice)
    return load_on_device(job, snapshot_path(job.parent(role), step)), step


def network_facts(job: Job[Any], role: str, step: int) -> dict[str, Any]:
    """What a summary notes of the network that a stage used: the parent `role` at a step."""
    parent, digest = job.record.parents[role], job.parent_digests[role]
    return NetworkUsed(rule=parent.rule, key=parent.key, digest=digest, step=step).model_dump()


def network_used(job: Job[Any], role: str) -> NetworkUsed:
    """The network that a parent's summary says it used."""
    return NetworkUsed.model_validate(job.summary(role)["network"])


def load_on_device(job: Job[Any], path: Path) -> SegmentationNetwork:
    """Load a network file onto the stage's device, determinism set up first."""
    configure_determinism(job.exact, job.threads)
    device = choose_device(job.settings.device)
    job.notes["device"] = str(device)
    network, _ = load_network(path)
    return network.to(device).eval()


def names_of_part(folder: ArtifactFolder, part: str) -> list[str]:
    """The image names of a split's easy or hard part, in the order of their rank."""
    table = pd.read_csv(folder.path / "split.csv", dtype={"image": str}, keep_default_na=False)
    return [str(name) for name in table.loc[table["split"] == part, "image"]]


def names_for(job: Job[Any], name: str) -> list[str]:
    """The image names of a domain: a split's part in the order of rank, or all of its caches."""
    domain = job.domain(name)
    if domain.split is not None:
        return names_of_part(job.parent(domain.split), str(domain.part))
    return [image for folder in job.caches(name) for image in cache_of(folder).names]


def pseudo_labels_of(folder: ArtifactFolder) -> Records:
    """The label maps of a `pseudolabel` artifact."""
    return Records(folder.path, "labels")


class PseudoLabelled(Domain):
    """Images with pseudo-labels, whose classes are as frequent as predicted, not as what was kept of them.

    What is kept of a class depends on its threshold; rare-class mining needs the true counts.
    """

    def __init__(self, caches: list[Cache], folder: ArtifactFolder, taxonomy: Taxonomy) -> None:
        labels = pseudo_labels_of(folder)
        extras = {"soft": SoftLabels(folder.path)} if has_soft_labels(folder.path) else {}
        super().__init__(caches, names=list(labels.names), labels=labels, extras=extras)
        predicted = read_json(folder.path / "statistics.json").get("predicted")
        self._predicted = None if predicted is None else tuple(predicted[name] for name in taxonomy.names)

    def class_counts(self) -> tuple[int, ...]:
        """Pixels predicted as each class; the labels' own pixels where every pixel has a label."""
        return super().class_counts() if self._predicted is None else self._predicted


def domain_of(job: Job[Any], name: str) -> Domain:
    """One domain of a training stage: images, which of them, and their labels."""
    domain = job.domain(name)
    caches = [cache_of(folder) for folder in job.caches(name)]
    if domain.labels is not None:
        return PseudoLabelled(caches, job.parent(domain.labels), job.taxonomy)
    names = names_for(job, name) if domain.split is not None else None
    own = all(cache.labels is not None for cache in caches)
    return Domain(caches, names=names, labels="own" if own else None)


def source_names_of_round(parameters: TrainParameters, names: tuple[str, ...], seed: int) -> list[str] | None:
    """The source images of this round in drawing order; None: all of them.

    Source: `docs/methods/cbst.md`, portions and images of a round.
    """
    turn = parameters.objective.turn()
    if turn.source_share == 1.0:
        return None
    return source_subset(names, turn.source_share, seed, turn.number, turn.drawing)


def source_of_round(domain: Domain, parameters: TrainParameters, seed: int) -> Domain:
    """The source domain with this round's images and their labels; DataError where two caches share a chosen name.

    Of pseudo-labels the class counts stay those of all their images: predicted pixels are counted over the set.
    """
    names = source_names_of_round(parameters, domain.names, seed)
    return domain if names is None else domain.restricted(names)


class Chosen:
    """Some records of a cache in a given order, as a pass reads them."""

    def __init__(self, records: Records, names: list[str]) -> None:
        self.records = records
        self.positions = [records.index_of(name) for name in names]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, position: int) -> Any:
        return self.records[self.positions[position]]


def pass_settings(job: Job[Any], name: str, **facts: Any) -> PassSettings:
    """Settings of a pass of this stage: resumable under `state/<name>`, tied to parents and facts."""
    return PassSettings(
        state=job.folder.state / name,
        fingerprint={"key": job.key, "parents": job.parent_digests, **facts},
        batch=getattr(job.parameters, "batch", 1) if job.exact else None,
        precision=getattr(job.parameters, "precision", None),
        chunks=job.settings.chunks,
        stop=job.stop,
        progress=Progress(job, name),
    )
