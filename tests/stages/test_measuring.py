"""Measuring a training: on prepared images or noise, in the time it has, and without a trace."""

import pytest

from pipeline.stages import measuring
from pipeline.stages.measuring import (
    STEPS,
    WARM,
    Limits,
    NotMeasuredError,
    _measure,
    _Watch,
    measure_training,
)
from pipeline.stages.results import Results

SIZES = {"source": (48, 32), "target": (48, 32)}


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["source", "inter", "intra"])
def test_prepared_images_are_used_and_nothing_is_left_behind(shared, name):
    record = shared.plan().stages[name].record
    before = files(shared.folder / "results")
    found = _measure(record, Results(shared.results), {}, 0.0)
    assert found.real and found.seconds > 0 and found.memory > 2**20
    assert files(shared.folder / "results") == before


@pytest.mark.parametrize("name", ["source", "inter", "intra"])
def test_noise_stands_for_what_is_not_prepared(shared, name, tmp_path):
    """`intra` learns from pseudo-labels, which nobody has made yet."""
    record = shared.plan().stages[name].record
    found = _measure(record, Results(tmp_path), SIZES, 0.0)
    assert not found.real and found.seconds > 0 and not list(tmp_path.iterdir())
    with pytest.raises(NotMeasuredError, match="own sizes"):
        _measure(record, Results(tmp_path), dict.fromkeys(SIZES), 0.0)


@pytest.mark.slow
def test_it_is_made_in_a_process_of_its_own(shared, tmp_path):
    record = shared.plan().stages["source"].record
    assert measure_training(record, Results(tmp_path), SIZES, Limits(0.0)).memory > 2**20
    with pytest.raises(NotMeasuredError, match="own sizes"):
        measure_training(record, Results(tmp_path), dict.fromkeys(SIZES), Limits(0.0))
    with pytest.raises(NotMeasuredError, match="more than 0 s"):
        measure_training(record, Results(tmp_path), SIZES, Limits(0.0, 0.01))


def times(monkeypatch, seconds, until):
    """The watch after a training whose steps last `seconds`, one after another, until it says to stop."""
    now = [0.0]
    for clock in ("time", "monotonic"):
        monkeypatch.setattr(measuring.time, clock, lambda: now[0])
    watch = _Watch(lambda start, stop: [{}] * len(seconds), until)
    made = 0
    for _ in watch.load(0, len(seconds)):
        now[0] += seconds[made]
        made += 1
        if watch.reason():
            break
    return watch.seconds_per_step(), made


def test_the_first_steps_are_not_counted(monkeypatch):
    assert times(monkeypatch, [90.0, 30.0, *[2.0] * 30], until=1e6) == (2.0, WARM + STEPS)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([9.0, 8.0], (9.0, 1)), ([3.0, 2.5, 9.0], (2.5, 2)), ([2.0, 1.0, 1.5, 2.5, 9.0], (2.0, 4))],
)
def test_slow_steps_end_it_early(monkeypatch, seconds, expected):
    """After 5 s no further step is made; of few steps the last are counted."""
    assert times(monkeypatch, seconds, until=5.0) == expected
