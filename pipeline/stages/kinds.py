"""The stage kinds: version, rule, whether they draw random numbers, parameters class; free of torch.

Raise a kind's `version` when its code changes what it computes: every stage of that kind, and all that
follow it, get new keys and are computed again. The golden tests in `tests/stages` tie version to behaviour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.stages.parameters import (
    EvaluateParameters,
    PrepareParameters,
    PriorParameters,
    PseudolabelParameters,
    RankParameters,
    SelectParameters,
    SplitParameters,
    SuggestParameters,
)
from pipeline.training.parameters import TrainParameters


@dataclass(frozen=True)
class Kind:
    """One stage kind. `references`: keys of a recipe's stage entry that name other stages or domains."""

    name: str
    version: int
    parameters: type[BaseModel]
    references: tuple[str, ...] = ()
    seeded: bool = False


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("prepare", 1, PrepareParameters),
        Kind("train", 3, TrainParameters, ("init", "source", "target", "labelled"), seeded=True),
        Kind("rank", 1, RankParameters, ("model", "images")),
        Kind("split", 1, SplitParameters, ("ranking",)),
        Kind("pseudolabel", 1, PseudolabelParameters, ("model", "ranking", "images", "prior")),
        Kind("prior", 1, PriorParameters, ("source",)),
        Kind("select", 1, SelectParameters, ("model",)),
        Kind("evaluate", 1, EvaluateParameters, ("model",)),
        Kind("suggest", 1, SuggestParameters, ("ranking",)),
    )
}


def rule_of(kind: str, parameters: Mapping[str, Any]) -> str:
    """Name of the workflow rule (and of the results folder) that serves a stage."""
    if kind != "train":
        return kind
    method = parameters["method"]
    if method == "supervised":
        return "pretrain"
    return "selftrain" if method == "self_training" else "adapt"
