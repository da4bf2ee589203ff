"""Where a training stage stands: the factor on all learning rates, and the steps that leave a snapshot."""

from pipeline.numerics.schedules import poly
from pipeline.training.parameters import TrainParameters


def learning_rate_factor(parameters: TrainParameters, step: int) -> float:
    """Return the factor on every learning rate that is set before optimiser step `step` (0, 1, ...).

    Poly decay over the horizon. Source: `docs/protocol.md`, schedules.
    """
    return poly(1.0, step, parameters.schedule_horizon(), parameters.power)


def snapshot_steps(steps: int, count: int) -> tuple[int, ...]:
    """List `count` evenly spaced numbers of finished steps, `steps` the last; fewer when steps < count."""
    return tuple(sorted({max(1, round(steps * part / count)) for part in range(1, count + 1)}))
