"""The stages of a plan, each made once: the experiments of a sweep share most of theirs."""

from collections.abc import Callable, Hashable
from typing import Any

from pipeline.plan.references import Asked
from pipeline.plan.stage import Inputs, PlannedDomain, Stage


class Made:
    """Every stage by its digest, and by what was asked for, which is known before the digest is."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Stage] = {}
        self._answers: dict[Hashable, tuple[Any, Stage]] = {}

    def once(self, around: Hashable, asked: Asked, inputs: Inputs, make: Callable[[], Stage]) -> Stage:
        """The stage of this kind, parameters and inputs; `make` makes the first.

        `around`: what else a stage depends on. Stages of one digest are one object, under the label of the first,
        in whatever words they were asked for.
        """
        question = around, asked.kind.name, id(asked.parameters), _described(inputs)
        if question not in self._answers:
            stage = make()
            # The parameters are kept: no others may get their address.
            answer = asked.parameters, self._by_digest.setdefault(stage.digest, stage)
            self._answers[question] = answer
        return self._answers[question][1]


def _described(inputs: Inputs) -> Hashable:
    references = tuple((role, stage.digest) for role, stage in inputs.references.items())
    domains = tuple((name, *_images(domain)) for name, domain in inputs.domains.items())
    return references, domains, inputs.selection and inputs.selection.digest


def _images(domain: PlannedDomain) -> tuple[Hashable, ...]:
    caches = tuple(cache.digest for cache in domain.caches)
    return caches, domain.split and domain.split.digest, domain.part, domain.labels and domain.labels.digest
