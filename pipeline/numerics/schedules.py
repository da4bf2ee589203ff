"""Schedules as plain Python floats: learning rates by the step, portions of images and pixels by the round.

`horizon` is where a learning rate would reach zero; a run may stop earlier (ADVENT: 250,000 and 120,000).
"""


def poly(base: float, step: int, horizon: int, power: float = 0.9) -> float:
    """Return `base * (1 - step / horizon) ** power`, the learning rate set before optimiser step `step`.

    `base`: learning rate at step 0. `step`: 0, 1, ... up to `horizon`, where the rate is 0. Raises ValueError
    for a step outside [0, horizon]: past the horizon the formula has no real value.
    Source: Chen et al., DeepLab, section 4.1 ("poly"); see docs/protocol.md.
    """
    if not 0 <= step <= horizon or horizon < 1:
        raise ValueError(f"step {step} is outside the schedule's [0, {horizon}]")
    return float(base * (1.0 - step / horizon) ** power)


def line(start: float, step: int, length: int) -> float:
    """Return the value at `step` of the line from `start` at step 0 to 1 at step `length`, where it stays."""
    return start + (1.0 - start) * min(1.0, step / length) if length else 1.0


def portion(round_index: int, start: float, step: float, maximum: float) -> float:
    """Return the portion of round 0, 1, ...: `min(start + round * step, maximum)`.

    Computed by multiplication and rounded to 12 decimals, so that .15 with steps of .05 is .3 in round 3 (not
    .30000000000000004) and no round passes the maximum. Raises ValueError for a negative round or values
    outside [0, 1]. Source: Zou et al., CBST, ECCV 2018, section 5; docs/methods/cbst.md.
    """
    if round_index < 0 or not all(0.0 <= value <= 1.0 for value in (start, step, maximum)):
        raise ValueError(
            f"portion needs round >= 0 and values in [0, 1]: {round_index, start, step, maximum}"
        )
    return min(round(start + round_index * step, 12), maximum)
