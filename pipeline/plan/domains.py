"""From the words of a recipe to images: the task's own data, a part of a split, pseudo-labelled images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel

from pipeline.artifacts.errors import ConfigError
from pipeline.config.models import LabelledSubset, Task
from pipeline.plan.datasets import DataPlanner, TaskData
from pipeline.plan.recipes import DOMAIN_WORDS
from pipeline.plan.references import stage_named
from pipeline.plan.stage import PlannedDomain, Stage, in_order
from pipeline.stages.kinds import KINDS, DomainKey, Kind
from pipeline.stages.record import Part

PARTS = get_args(Part)
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
    origin: str
    labelled_is_read: bool = False

    def read_by(
        self,
        kind: Kind,
        parameters: BaseModel,
        words: Mapping[str, str],
        stages: Mapping[str, Stage],
        where: str,
    ) -> dict[str, PlannedDomain]:
        """The domains that a stage reads, by name.

        `words`: what its entry names; `stages`: those that words may name, and its references by role. ConfigError
        for a word that names no images, or a domain that is not read.
        """
        reads = kind.reads(parameters)
        found = {}
        for key in kind.domains:
            at = f"{where}.{key.name}"
            if reads is not None and key.name not in reads:
                _check_not_named(key, words, f"{at}: method {kind.word_of(parameters)}", reads)
                continue
            word = words.get(key.name, key.word)
            check_own_labels(key, word, kind.name, at)
            domain = self._domain(key, word, stages, at)
            if domain is not None:
                found[key.name] = domain
        return found

    def _domain(
        self, key: DomainKey, word: str, stages: Mapping[str, Stage], where: str
    ) -> PlannedDomain | None:
        if key.seen_by is not None:
            return self._seen_by(stages[key.seen_by])
        if key.through is not None:
            other = stages[key.through]
            return PlannedDomain(tuple(other.parents[role] for role in other.record.domains[key.name].caches))
        if word == key.word or word in DOMAIN_WORDS:
            return self._own(word, where)
        head, _, part = word.partition(".")
        return self._of_stage(stage_named(head, stages, where), part, word, where)

    def _own(self, word: str, where: str) -> PlannedDomain:
        """The task's data of that word."""
        if word == "task.source":
            return PlannedDomain(tuple(self.data.source))
        if word == "task.target":
            return PlannedDomain((self.data.target,))
        if word == "task.target_labels":
            labelled = self.planner.prepare(self.task.target, self.data.taxonomy, "working", self.origin)
            return PlannedDomain((labelled,))
        if word == "task.labelled":
            return PlannedDomain((self._labelled(where),))
        assert word == "task.evaluate" and self.data.evaluate is not None, word
        return PlannedDomain((self.data.evaluate,))

    def _labelled(self, where: str) -> Stage:
        if self.subset is None:
            raise ConfigError(
                f"{where}: this stage uses labelled target images; give `labelled: {{count: 20}}` or "
                f"`labelled: {{names: FILE}}` in {self.origin} or in the task"
            )
        self.labelled_is_read = True
        return self.planner.labelled(self.task, self.subset, self.data.taxonomy, self.seed, self.origin)

    def _of_stage(self, stage: Stage, part: str, word: str, where: str) -> PlannedDomain:
        """The target's images that an earlier stage chose or labelled; `word` is `stage` or `stage.part`."""
        gives = KINDS[stage.kind].gives
        if gives == "parts":
            for known in PARTS:
                if part == known:
                    return PlannedDomain((self.data.target,), split=stage, part=known)
            needed = " or ".join(f"{word.partition('.')[0]}.{known}" for known in PARTS)
            raise ConfigError(f"{where}: found {word!r}; needs {needed}")
        if gives == "labels" and not part:
            return PlannedDomain((self.data.target,), labels=stage)
        raise ConfigError(
            f"{where}: found {word!r} (a stage of kind {stage.kind}); needs a split's part, a pseudolabel stage, "
            f"or one of {', '.join(DOMAIN_WORDS)}"
        )

    def _seen_by(self, model: Stage) -> PlannedDomain | None:
        """The target's images whose labels the model, or one that it came from, had; None if there are none."""
        target = self.data.target.record.data
        assert target is not None
        found = {}
        for stage in in_order([model]):
            data = stage.record.data
            if data is None or stage.parameters.labels == "none":
                continue
            if (data.dataset.name, data.split) == (target.dataset.name, target.split):
                found[stage.key] = stage
        return PlannedDomain(tuple(found[key] for key in sorted(found))) if found else None

    def names(self, domains: Mapping[str, PlannedDomain], name: str) -> set[str]:
        """Names of the images in the caches of a domain; none where it is not there."""
        caches = domains[name].caches if name in domains else ()
        return {image for cache in caches for image in self.planner.names_of(cache, self.origin)}


def check_own_labels(key: DomainKey, word: str, kind: str, where: str) -> None:
    """Raise ConfigError where something else is named than labels that a dataset has."""
    if key.own_labels and word not in OWN_LABELS:
        raise ConfigError(
            f"{where}: found {word!r}; a {kind} counts a dataset's own labels: {', '.join(OWN_LABELS[:-1])} or "
            f"{OWN_LABELS[-1]}"
        )


def _check_not_named(key: DomainKey, words: Mapping[str, str], who: str, reads: Collection[str]) -> None:
    if key.name in words:
        raise ConfigError(f"{who} does not read this domain; it reads {', '.join(reads)}")
