"""What `init` says of time: of the written size by measuring, of smaller ones by their pixels."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from strangers import run, source, target

from pipeline.commands import first_times
from pipeline.commands.first_times import smaller_sizes, time_lines
from pipeline.commands.measured_cost import Pace
from pipeline.stages import measuring_server
from pipeline.stages.measuring import Measured

RUN = SimpleNamespace(
    experiment="mine",
    trained={
        name: SimpleNamespace(parameters=SimpleNamespace(steps=steps))
        for name, steps in (("source", 1000), ("inter", 600))
    },
)


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(first_times.os, "getloadavg", lambda: (0.5, 0.5, 0.5))


def told(monkeypatch, *paces):
    left = list(paces)
    monkeypatch.setattr(first_times, "pace_of", lambda stage, enough, most: left.pop(0))
    return list(time_lines(RUN, (512, 288)))


def test_the_trainings_are_added_and_smaller_sizes_offered(monkeypatch, idle):
    """1,000 steps of 0.6 s and 600 of 1.5 s are 25 minutes; half the sides are a quarter of the pixels."""
    asked, whole, smaller = told(
        monkeypatch, Pace(Measured(0.6, 2**30, False)), Pace(Measured(1.5, 3 * 2**29, False))
    )
    assert "20 s at most (--no-measure" in asked
    assert whole == "time:   about 25.0 min for the trainings of `mine` at 512x288, 1.5 GiB of memory"
    assert smaller == (
        "        about 14.1 min at 384x216, 6.2 min at 256x144: the same command with --size WIDTH HEIGHT --force"
    )


def test_what_is_too_slow_is_said_so_and_a_busy_machine_too(monkeypatch):
    monkeypatch.setattr(first_times.os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    monkeypatch.setattr(first_times, "job_cores", lambda: 2)
    _, line = told(monkeypatch, Pace(None, "one step takes more than 10 s"))
    assert line == (
        "time:   not known, source: one step takes more than 10 s (the machine is busy: load 9 on 2 cores); try a "
        "smaller --size"
    )


def test_all_stays_below_its_seconds(monkeypatch, idle):
    """Each training gets its share of what is left, whatever the one before took."""
    now, given = [0.0], []
    monkeypatch.setattr(first_times.time, "monotonic", lambda: now[0])

    def pace(stage, enough, most):
        given.append((enough, most))
        now[0] += 4.0
        return Pace(Measured(1.0, 2**30, False))

    monkeypatch.setattr(first_times, "pace_of", pace)
    list(time_lines(RUN, (512, 288)))
    assert given == [(5.0, 10.0), (8.0, 16.0)]


def test_sizes_keep_their_proportions_and_do_not_vanish():
    assert smaller_sizes((640, 480)) == [(480, 360), (320, 240)]
    assert smaller_sizes((160, 96)) == [(120, 72)]
    assert smaller_sizes((64, 64)) == []


def test_init_measures_what_it_wrote_unless_told_not_to(clone, tmp_path, monkeypatch, capsys):
    source(tmp_path)
    target(tmp_path)
    started: list[bool] = []
    monkeypatch.setattr(
        measuring_server, "start_server", lambda: started.append(Path("config/mine.yaml").exists())
    )
    monkeypatch.setattr(
        first_times,
        "time_lines",
        lambda run, size: [f"measured {run.experiment}:{list(run.trained)} at {size}"],
    )
    assert run(tmp_path) == 0
    assert "measured" not in capsys.readouterr().out and not started
    assert run(tmp_path, "--force", measure=True) == 0
    assert (
        "measured mine:['source', 'inter', 'intra'] at (88, 64)" in capsys.readouterr().out
        and len(started) == 1
    )
