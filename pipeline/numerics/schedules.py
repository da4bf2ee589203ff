"""Learning-rate schedules as plain Python floats, functions of the step alone.

`horizon` is where a schedule would reach zero; a run may stop earlier (ADVENT: 250,000 and 120,000).
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
