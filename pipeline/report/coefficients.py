"""The guard's uncertainty coefficient of every stage, from what `select` found on unlabelled target images."""

from pipeline.report.guard import LEAST_DIVERSITY, Answers, uncertainty_coefficient
from pipeline.report.model import ExperimentRecord, StageResult


def coefficient(experiment: ExperimentRecord, stage: str, seed: int, test_mode: str) -> float | None:
    """Return a run's uncertainty coefficient at the last step, 0..1; None where no unlabelled image was looked at.

    As in the guard, an adapted stage's diversity counts as no less than 4/5 of that of its source stage.
    """
    answers = _answers(experiment.result_of(stage, seed, test_mode))
    if answers is None:
        return None
    first = experiment.stages[0].stage
    source = None if stage == first else _answers(experiment.result_of(first, seed, test_mode))
    return uncertainty_coefficient(answers, 0.0 if source is None else LEAST_DIVERSITY * source.diversity)


def _answers(run: StageResult | None) -> Answers | None:
    """What `select` found of the last step; None where it did not look."""
    figures = {} if run is None else run.label_free_figures
    if not {"entropy", "information_maximisation"} <= figures.keys():
        return None
    return Answers(figures["entropy"], figures["information_maximisation"])
