"""Learning rates against the values printed for the published runs."""

from itertools import pairwise

import pytest

from pipeline.numerics.schedules import poly


@pytest.mark.parametrize(
    ("base", "step", "printed"),
    [
        (2.5e-4, 0, "2.500e-04"),
        (2.5e-4, 70_000, "1.860e-04"),
        (2.5e-4, 120_000, "1.388e-04"),
        (2.5e-3, 70_000, "1.860e-03"),
        (1e-4, 0, "1.00e-04"),
        (1e-4, 70_000, "7.44e-05"),
        (1e-4, 120_000, "5.55e-05"),
    ],
)
def test_published_learning_rates(base: float, step: int, printed: str) -> None:
    digits = len(printed.split("e")[0]) - 2
    assert f"{poly(base, step, 250_000):.{digits}e}" == printed


def test_poly_is_zero_at_its_horizon_and_falls_all_the_way() -> None:
    rates = [poly(1.0, step, 10) for step in range(11)]
    assert rates[-1] == 0.0
    assert all(a > b for a, b in pairwise(rates))


def test_power_one_is_a_line() -> None:
    assert poly(2.0, 3, 4, power=1.0) == 0.5


@pytest.mark.parametrize(("step", "horizon"), [(-1, 5), (6, 5), (0, 0)])
def test_step_outside_the_horizon_is_an_error(step: int, horizon: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        poly(1.0, step, horizon)
