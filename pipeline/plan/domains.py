"""From the words of a recipe to images: the task's own data, a part of a split, pseudo-labelled images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, get_args

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import LabelledSubset, Task
from pipeline.plan.datasets import DataPlanner, TaskData
from pipeline.plan.recipes import DOMAIN_WORDS
from pipeline.plan.references import Asked, stage_named
from pipeline.plan.stage import PlannedDomain, Stage, in_order
from pipeline.stages.kinds import KINDS, DomainKey
from pipeline.stages.record import Part

PARTS = get_args(Part)
FURTHER = "task.also."
"""How the plan itself names a further split; no entry of a recipe can."""
OWN_LABELS = ("task.source", "task.labelled", "task.target_labels")
"""Words for images whose labels are a dataset's own."""


@dataclass
class TaskDomains:
    """The domains of one experiment with one seed; `labelled_is_read`: whether one was its labelled images."""

    planner: DataPlanner
    task: Task
    data: TaskData
    subset: LabelledSubset | None
    seed: int
    location: str
    labelled_is_read: bool = False

    def read_by(self, asked: Asked, references: Mapping[str, Stage]) -> dict[str, PlannedDomain]:
        """The domains that a stage reads, by name; `references`: its other parents by role.

        ConfigError for a word that names no images, or a domain that is not read.
        """
        _check_read(asked)
        found = {}
        for key in asked.kind.domains_of(asked.parameters):
            domain = (
                self._named(key, asked)
                if key.through is None and key.seen_by is None
                else self._from_reference(key, references)
            )
            if domain is not None:
                found[key.name] = domain
        return found

    def _from_reference(self, key: DomainKey, references: Mapping[str, Stage]) -> PlannedDomain | None:
        if key.seen_by is not None:
            return self._seen_by(references[key.seen_by])
        other = references[str(key.through)]
        return PlannedDomain(tuple(other.parents[role] for role in other.record.domains[key.name].caches))

    def _named(self, key: DomainKey, asked: Asked) -> PlannedDomain:
        location, word = f"{asked.location}.{key.name}", asked.words.get(key.name, key.word)
        if key.own_labels and word not in OWN_LABELS:
            raise ConfigError(
                f"{location}: found {word!r}; a {asked.kind.name} counts a dataset's own labels: "
                f"{', '.join(OWN_LABELS[:-1])} or {OWN_LABELS[-1]}"
            )
        if word == key.word or word in DOMAIN_WORDS or word.startswith(FURTHER):
            return self._own(word, location)
        head, _, part = word.partition(".")
        return self._of_stage(stage_named(head, asked.stages, location), part, word, location)

    def _own(self, word: str, location: str) -> PlannedDomain:
        """The task's data of that word."""
        if word == "task.source":
            return PlannedDomain(tuple(self.data.source))
        if word == "task.target":
            return PlannedDomain((self.data.target,))
        if word == "task.target_labels":
            labelled = self.planner.prepare(self.task.target, self.data.taxonomy, "working", self.location)
            return PlannedDomain((labelled,))
        if word == "task.labelled":
            return PlannedDomain((self._labelled(location),))
        if word.startswith(FURTHER):
            return PlannedDomain((self.data.also[word.removeprefix(FURTHER)],))
        assert word == "task.evaluate" and self.data.evaluate is not None, word
        return PlannedDomain((self.data.evaluate,))

    def _labelled(self, location: str) -> Stage:
        if self.subset is None:
            raise ConfigError(
                f"{location}: this stage uses labelled target images; give `labelled: {{count: 20}}` or "
                f"`labelled: {{names: FILE}}` in {self.location} or at the top of the suite"
            )
        self.labelled_is_read = True
        return self.planner.labelled(self.task, self.subset, self.data.taxonomy, self.seed, self.location)

    def _of_stage(self, stage: Stage, part: str, word: str, location: str) -> PlannedDomain:
        """The target's images that an earlier stage chose or labelled; `word` is `stage` or `stage.part`."""
        gives = KINDS[stage.kind].gives
        if gives == "parts" and part in PARTS:
            return PlannedDomain((self.data.target,), split=stage, part=cast(Part, part))
        if gives == "parts":
            needed = " or ".join(f"{word.partition('.')[0]}.{known}" for known in PARTS)
            raise ConfigError(f"{location}: found {word!r}; needs {needed}")
        if gives == "labels" and not part:
            return PlannedDomain((self.data.target,), labels=stage)
        raise ConfigError(
            f"{location}: found {word!r} (a stage of kind {stage.kind}); needs a split's part, a pseudolabel stage, "
            f"or one of {', '.join(DOMAIN_WORDS)}"
        )

    def _seen_by(self, model: Stage) -> PlannedDomain | None:
        """The target's images whose labels the model, or one that it came from, had; None if there are none."""
        found = labels_seen(model, self.data.target)
        return PlannedDomain(tuple(found)) if found else None

    def further_splits(self, model: Stage) -> list[str]:
        """Names of the further splits that a model may be scored on: it had none of their labels."""
        return [name for name, split in self.data.also.items() if not labels_seen(model, split)]

    def names(self, domains: Mapping[str, PlannedDomain], name: str) -> set[str]:
        """Names of the images in the caches of a domain; none where it is not there."""
        caches = domains[name].caches if name in domains else ()
        return {image for cache in caches for image in self.planner.names_of(cache, self.location)}


def labels_seen(model: Stage, split: Stage) -> list[Stage]:
    """The `prepare` stages that gave a model, or one that it came from, labels of a prepared split, by key."""
    own = split.record.data
    assert own is not None
    found = {}
    for stage in in_order([model]):
        data = stage.record.data
        if data is None or stage.parameters.labels == "none":
            continue
        if (data.dataset.name, data.split) == (own.dataset.name, own.split):
            found[stage.key] = stage
    return [found[key] for key in sorted(found)]


def _check_read(asked: Asked) -> None:
    """Raise ConfigError where an entry names a domain that is not read with these parameters."""
    read = [key.name for key in asked.kind.domains_of(asked.parameters)]
    for key in asked.kind.domains:
        if key.name in asked.words and key.name not in read:
            raise ConfigError(
                f"{asked.location}.{key.name}: method {asked.kind.word_of(asked.parameters)} does not read this domain; "
                f"it reads {', '.join(read)}"
            )
