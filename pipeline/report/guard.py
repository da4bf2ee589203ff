"""The guard: whether adaptation seems to have helped, judged on unlabelled target images alone.

Both networks' last snapshots are compared by the uncertainty coefficient: how much of the diversity of a network's
answers it is sure of, from what `select` has computed. Information maximisation itself would be a poor judge here: a
source-only network gives rare classes more pixels than there are, and adaptation that unlearns this loses diversity.
"""

import logging
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.plan.records import RunRecord
from pipeline.stages.results import Results

CRITERION = "uncertainty_coefficient"
LEAST_DIVERSITY = 0.8
"""Of source-only's diversity: an adapted network's counts as no less, so that a collapsed one seems sure of little."""
MARGIN = 0.05
"""By which the adapted network's coefficient may be lower: logits moved towards rare classes cost it 0.02 to 0.03, and
differences as small were wrong as often as right."""


def taken(results: Results, record: RunRecord) -> dict[str, Any] | None:
    """What `model/` is to hold: `stage`, `criterion`, and its `values` by stage; None for a run without a guard."""
    if record.source_only is None:
        return None
    source_only, adapted = (_answers(results, record, name) for name in (record.source_only, record.final))
    values = {
        record.source_only: uncertainty_coefficient(source_only),
        record.final: uncertainty_coefficient(adapted, LEAST_DIVERSITY * source_only.diversity),
    }
    worse = seems_worse(values[record.final], values[record.source_only])
    stage = record.source_only if worse else record.final
    return {"stage": stage, "criterion": CRITERION, "values": values}


def seems_worse(adapted: float, source_only: float) -> bool:
    """Say whether the adapted network's coefficient is lower than source-only's by more than the margin."""
    return adapted < source_only - MARGIN


@dataclass(frozen=True)
class Answers:
    """A network's answers on target images: mean normalised `entropy`, and `information`, what is maximised."""

    entropy: float
    information: float

    @property
    def diversity(self) -> float:
        """Normalised entropy of the mean prediction."""
        return self.information + self.entropy


def uncertainty_coefficient(answers: Answers, least_diversity: float = 0.0) -> float:
    """Return information over diversity, in [0, 1] up to rounding; 0 for a network with one answer everywhere.

    A diversity below `least_diversity` counts as that. Source: Theil, On the estimation of relationships involving
    qualitative variables, 1970, between pixels and predicted classes.
    """
    diversity = max(answers.diversity, least_diversity)
    return answers.information / diversity if diversity > 0 else 0.0


def _answers(results: Results, record: RunRecord, name: str) -> Answers:
    last = pd.read_csv(results.folder(record.selects[name]).path / "selection.csv").iloc[-1]
    return Answers(float(last["entropy"]), float(last["information_maximisation"]))


def warn_of_swap(choice: dict[str, Any] | None, record: RunRecord, log: logging.Logger) -> None:
    """Say in the log that adaptation seems to have made things worse."""
    if choice and choice["stage"] != record.final:
        log.warning(
            "ADAPTATION SEEMS TO HAVE MADE THINGS WORSE: on target images %s has %s %.4f, by more than %s below the %.4f of "
            "%s; model/ holds it",
            record.final,
            CRITERION.replace("_", " "),
            choice["values"][record.final],
            MARGIN,
            choice["values"][record.source_only],
            record.source_only,
        )
