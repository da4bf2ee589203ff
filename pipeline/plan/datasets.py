"""`prepare` stages: which images of which dataset at which size, and the identity of the data."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.files import digest_of
from pipeline.config.load import Config
from pipeline.config.models import DomainSplit, LabelledSubset, Task
from pipeline.config.shipped import config_file
from pipeline.datasets.contents import CONTENTS, Contents, remember, source_files
from pipeline.datasets.items import Listing
from pipeline.datasets.listing import identity, list_split
from pipeline.datasets.name_lists import listed_names
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.numerics.randomness import shuffled
from pipeline.plan.finished import Finished
from pipeline.plan.stage import Inputs, Stage, StageSettings, make_stage
from pipeline.schema.names import nearest, similar
from pipeline.stages.kinds import KINDS
from pipeline.stages.parameters import PrepareParameters
from pipeline.stages.record import PlannedData
from pipeline.stages.results import RESULTS, Results

LOG = logging.getLogger("pipeline.plan")


def nested_choice(names: list[str], count: int, seed: int) -> list[str]:
    """Choose `count` names by a seeded permutation of the sorted list, so that smaller choices are contained.

    Nested subsets, `docs/methods/ass.md`. The order of the result is the permutation's.
    """
    return shuffled(sorted(names), seed)[:count]


def _alike(name: str, available: Collection[str]) -> str:
    """The most similar names, or the first: a target has too many to list."""
    close = similar(name, available)
    return f"did you mean `{close}`?" if close else f"names look like `{min(available, default='')}`"


def _plain(split: DomainSplit) -> DomainSplit:
    """What of a split decides its cache."""
    return DomainSplit(**{name: getattr(split, name) for name in DomainSplit.model_fields})


@dataclass(frozen=True)
class TaskData:
    """The prepare stages of a task."""

    taxonomy: Taxonomy
    source: list[Stage]
    target: Stage
    evaluate: Stage | None
    also: Mapping[str, Stage]


class DataPlanner:
    """Makes `prepare` stages; every listing and identity is made once per run."""

    def __init__(self, config: Config, results: Path = RESULTS) -> None:
        self.config = config
        self.finished = Finished(Results(results))
        self._listings: dict[Any, tuple[Listing, str]] = {}
        self._stages: dict[Any, Stage] = {}

    def _dataset(self, name: str, location: str) -> DatasetSpec:
        return self.config.library.dataset(name, location)

    def listing(
        self, name: str, split: str, with_labels: bool, location: str, names: tuple[str, ...] | None = None
    ) -> tuple[Listing, str]:
        """The files of a split, or of its images `names`, and their identity.

        With `names`, no label but theirs is looked at. ConfigError or DataError names the dataset's file.
        """
        key = (name, split, with_labels, names)
        if key not in self._listings:
            spec = self._dataset(name, location)
            if split not in spec.splits:
                raise ConfigError(
                    f"{location}: dataset {name} has no split `{split}`; {nearest(split, spec.splits)}"
                )
            found = list_split(spec, split, with_labels, names)
            self._listings[key] = (found, identity(spec, found))
        return self._listings[key]

    def prepare(
        self,
        domain: DomainSplit,
        taxonomy: Taxonomy,
        labels: str,
        location: str,
        names: tuple[str, ...] | None = None,
    ) -> Stage:
        """The stage that prepares one split at one size."""
        cache_key = (domain, taxonomy.model_dump_json(), labels, names)
        if cache_key not in self._stages:
            self._stages[cache_key] = self._make(domain, taxonomy, labels, location, names)
        return self._stages[cache_key]

    def _make(
        self,
        domain: DomainSplit,
        taxonomy: Taxonomy,
        labels: str,
        location: str,
        names: tuple[str, ...] | None,
    ) -> Stage:
        listing, digest = self.listing(domain.dataset, domain.split, labels != "none", location, names)
        parameters = PrepareParameters.model_validate(
            {"size": domain.size, "labels": labels, "resample": domain.resample, "names": names}
        )
        some = "" if names is None else f"-{len(names)}-labelled"
        dataset = self._dataset(domain.dataset, location)
        label = f"prepare-{domain.dataset}-{domain.split}{some}"
        settings = StageSettings(self.config.settings.run, taxonomy, self.finished)

        def stage(identity: str) -> Stage:
            data = PlannedData(identity=identity, dataset=dataset, split=domain.split)
            return make_stage(KINDS["prepare"], label, parameters, Inputs(), settings, data)

        by_size = stage(digest)
        content = self._other_content(by_size, source_files(dataset, listing))
        return by_size if content is None else stage(digest_of([digest, content]))

    def _other_content(self, stage: Stage, files: Mapping[str, Path]) -> str | None:
        """Digest of what the files hold, where a finished stage prepared other content of the same sizes.

        Only files whose time differs from the last look are read, and what they hold is noted.
        """
        folder = self.finished.results.folder(stage.record)
        path = folder.run / CONTENTS
        contents = Contents.read(path) if self.finished.is_finished(stage.rule, stage.key) else None
        if contents is None:
            return None
        if touched := contents.touched(files):
            name = stage.label.removeprefix("prepare-")
            LOG.warning("%s: %d of %d files have another time, reading them", name, len(touched), len(files))
            other = contents.look_again({name: files[name] for name in touched})
            first = f" (first: {files[other[0]]})" if other else ""
            LOG.warning("%s: %d of them hold something else than before%s", name, len(other), first)
            remember(contents, path)
        return None if contents.now == contents.made else contents.now

    def names_of(self, stage: Stage, location: str) -> list[str]:
        """Names of the images that a `prepare` stage prepares."""
        if stage.parameters.names is not None:
            return list(stage.parameters.names)
        data = stage.record.data
        assert data is not None
        listing, _ = self.listing(data.dataset.name, data.split, False, location)
        return [item.name for item in listing.items]

    def _check_disjoint(self, task: Task, location: str) -> None:
        """Pseudo-labels made on the images that are then scored would flatter every figure."""
        splits = [task.evaluate, *(split for split in task.also.values() if not split.transductive)]
        for split in filter(None, splits):
            target, scored = (self._images_of(one, location) for one in (task.target, split))
            common = sorted(scored[one] for one in target.keys() & scored.keys())
            if common:
                raise ConfigError(
                    f"{location}: {len(common)} images are in both the target split `{task.target.split}` and the "
                    f"evaluation split `{split.split}` of {split.dataset} (first: {common[0]}); give disjoint splits"
                )

    def _images_of(self, domain: DomainSplit, location: str) -> dict[tuple[Path | str, int | str], str]:
        """Name of every image of a split by what it is: its real file and its number in it, whatever it is called.

        A drawn image has no file; it is its dataset and its name.
        """
        listing, _ = self.listing(domain.dataset, domain.split, False, location)
        return {
            (item.image.resolve(), item.index)
            if item.image != Path()
            else (domain.dataset, item.name): item.name
            for item in listing.items
        }

    def task(self, task: Task, location: str) -> TaskData:
        """All prepare stages of a task; target training labels are not listed."""
        taxonomy = self.config.library.taxonomy(task.taxonomy, location)
        self._check_disjoint(task, location)
        evaluate = self.prepare(task.evaluate, taxonomy, "native", location) if task.evaluate else None
        return TaskData(
            taxonomy,
            [self.prepare(domain, taxonomy, "working", location) for domain in task.source],
            self.prepare(task.target, taxonomy, "none", location),
            evaluate,
            {
                name: self.prepare(_plain(split), taxonomy, "native", location)
                for name, split in task.also.items()
            },
        )

    def labelled(
        self, task: Task, subset: LabelledSubset, taxonomy: Taxonomy, seed: int, location: str
    ) -> Stage:
        """The labelled target images, and no other label; `seed` is the run's."""
        listing, _ = self.listing(task.target.dataset, task.target.split, False, location)
        available = [item.name for item in listing.items]
        if subset.names is not None:
            chosen = self._names_from(
                config_file(self.config.library.root, subset.names), set(available), location
            )
        else:
            assert subset.count is not None
            if subset.count > len(available):
                raise ConfigError(
                    f"{location}: labelled.count {subset.count}: the target has {len(available)} images"
                )
            chosen = nested_choice(available, subset.count, seed if subset.seed == "run" else subset.seed)
        return self.prepare(task.target, taxonomy, "working", location, tuple(chosen))

    @staticmethod
    def _names_from(path: Path, available: set[str], location: str) -> list[str]:
        if not path.is_file():
            raise ConfigError(f"{location}: labelled.names: no file {path}")
        chosen = [line.name for line in listed_names(path, available)]
        unknown = [name for name in chosen if name not in available]
        repeated = "no or repeated names"
        if unknown or not chosen or len(set(chosen)) != len(chosen):
            what = f"unknown image {unknown[0]!r} ({_alike(unknown[0], available)})" if unknown else repeated
            raise ConfigError(f"{path}: {what}; needs one name of a target training image per line")
        return chosen
