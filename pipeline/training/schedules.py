"""Where a training stage stands: the factor on all learning rates, and the steps that leave a snapshot."""

from pipeline.numerics.schedules import line, poly
from pipeline.training.parameters import TrainParameters

DAFORMER_START, VFM_UDA_START = 1e-6, 1e-3
"""Where warm-up starts, with decay during it and after it. Source: the released codes of both."""


def learning_rate_factor(parameters: TrainParameters, step: int) -> float:
    """Return the factor on every learning rate that is set before optimiser step `step` (0, 1, ...).

    Poly decay over the horizon, warm-up before it or on top of it. Source: `docs/protocol.md`, schedules.
    """
    decay = poly(1.0, step, parameters.schedule_horizon(), parameters.power)
    warmup = parameters.warmup
    if warmup is None or step >= warmup.steps:
        return decay
    if warmup.decay == "during":
        return decay * line(DAFORMER_START, step, warmup.steps)
    return line(VFM_UDA_START, step, warmup.steps - 1)


def snapshot_steps(steps: int, count: int) -> tuple[int, ...]:
    """List `count` evenly spaced numbers of finished steps, `steps` the last; fewer when steps < count."""
    return tuple(sorted({max(1, round(steps * part / count)) for part in range(1, count + 1)}))
