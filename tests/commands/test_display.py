"""What `start` shows of a run: lines, bars on a terminal, times left, failures; and how jobs tell it."""

import contextlib
import io
import json
import logging
import os
import pty
import sys

import pytest
from rich.console import Console

from pipeline.artifacts.errors import Interrupted, SegadaptError
from pipeline.artifacts.events import VARIABLE, EventFile, tell
from pipeline.commands.display import LiveBars, PlainLines, Watch
from pipeline.commands.main_process import ProcessGroup
from pipeline.commands.run_state import RunState, Waiting
from pipeline.stages.job_log import Ending, open_log
from pipeline.training.progress import Progress

PLAN = {
    "prepare-0": Waiting("prepare-x", "prepare"),
    "train-1": Waiting("demo/seed0:source (supervised)", "train", 100),
    "train-2": Waiting("demo/seed0:inter (minent)", "train", 300),
    "rank-3": Waiting("demo/seed0:ranking", "rank"),
}


@pytest.fixture(autouse=True)
def silent(monkeypatch):
    """No test's job tells another's."""
    monkeypatch.setenv(VARIABLE, "/dev/null")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def event(key, name, **facts):
    return {"key": key, "event": name, **facts}


def trained(done, total=100):
    return event(
        "train-1", "progress", done=done, total=total, unit="steps", facts="lr 0.1  loss 2.5  kl 1  x 3"
    )


def test_times_left_of_a_stage_and_of_the_run():
    clock = Clock()
    state = RunState(PLAN, clock)
    state.take(event("prepare-0", "begin"))
    clock.now = 10.0
    state.take(event("prepare-0", "end", code=0))
    state.take(event("train-1", "begin"))
    assert state.left() is None, "no training has told its pace"
    clock.now = 12.0
    state.take(trained(20))  # resumed there
    clock.now = 16.0
    state.take(trained(28))
    assert (
        state.facts(state.working["train-1"]) == "28 of 100 steps, 0.5 s/step, loss 2.5  kl 1, 0:00:36 left"
    )
    # 72 steps left, 300 of the second training, and a ranking like the preparation.
    assert state.left() == pytest.approx(36 + 150 + 10)
    assert state.whole() == "1 of 4 stages, about 0:03:16 left"
    clock.now = 60.0
    ended = state.take(event("train-1", "end", code=0))
    assert state.ending(ended) == "demo/seed0:source (supervised): 100 steps in 0:00:50, loss 2.5  kl 1"
    assert state.left() == pytest.approx(300 * 0.5 + 10)


def test_the_next_pass_over_the_images_counts_anew():
    clock = Clock()
    state = RunState(PLAN, clock)
    state.take(event("rank-3", "begin"))
    for now, done in ((0.0, 0), (10.0, 10), (20.0, 2), (21.0, 4)):
        clock.now = now
        state.take(event("rank-3", "progress", done=done, total=10, unit="images"))
    assert state.working["rank-3"].pace(21.0) == 0.5


def test_plain_lines_are_one_a_stage_and_one_a_silent_minute():
    clock, stream = Clock(), io.StringIO()
    state, lines = RunState(PLAN, clock), PlainLines(stream, clock)
    state.take(event("train-1", "begin"))
    for now in range(0, 130, 2):
        clock.now = float(now)
        state.take(trained(now // 2))
        lines.draw(state)
    said = stream.getvalue().splitlines()
    assert len(said) == 2
    assert said[0] == (
        "  demo/seed0:source (supervised): 30 of 100 steps, 2 s/step, loss 2.5  kl 1, 0:02:20 left; "
        "0 of 4 stages, time left not known yet"
    )


@pytest.fixture
def told(tmp_path):
    """A watch with plain lines, and what they say."""
    stream = io.StringIO()
    with Watch(PLAN, PlainLines(stream), tmp_path) as watch:
        yield watch, stream


def test_stages_warnings_and_failures_are_told_from_the_jobs_log(told, tmp_path):
    watch, stream = told
    with Ending("train-1", open_log("train-1", tmp_path / "job.log")) as ending:
        ending.log.warning("may have collapsed")
        watch.look()
    with Ending("rank-3", open_log("rank-3", tmp_path / "job.log")) as ending:
        raise SegadaptError("the file x is damaged\nsecond line")
    with Ending("experiment-demo", open_log("experiment-demo", None)):
        pass
    watch.look()
    assert stream.getvalue().splitlines() == [
        "warning: demo/seed0:source (supervised): may have collapsed",
        "1/4 demo/seed0:source (supervised): in 0:00:00",
        "1/4 demo/seed0:ranking: failed after 0:00:00: the file x is damaged",
    ]
    assert "logs/RULE/KEY.log" in watch.failure()


def test_a_stopped_stage_is_no_failure(told):
    watch, stream = told
    with Ending("rank-3", open_log("rank-3", None)):
        raise Interrupted("its time is up")
    watch.look()
    assert stream.getvalue() == (
        "0/4 demo/seed0:ranking: stopped (its time is up), saved; the same command goes on from there\n"
    )


def test_a_stage_of_a_run_that_was_stopped_has_one_line_that_says_where_it_stopped(told):
    watch, stream = told
    watch.stopping()
    with Ending("train-1", open_log("train-1", None)) as ending:
        progress = Progress("train-1", 100, ending.log, stream=io.StringIO(), clock=Clock())
        progress.begin(0)
        progress.advance(7, 0.0)  # too early to be told
        progress.close()
        raise Interrupted("received SIGTERM")
    watch.look()
    assert stream.getvalue() == (
        "0/4 demo/seed0:source (supervised): stopped at step 7 of 100, saved; the same command goes on from there\n"
    )


def test_a_failure_before_any_stage_shows_the_end_of_the_log(told):
    watch, _ = told
    words = "print('MissingRuleException: no rule'); raise SystemExit(1)"
    assert ProcessGroup().run([sys.executable, "-c", words], 0, watch) == 1
    assert watch.failure().splitlines()[-1] == "  MissingRuleException: no rule"
    tell("prepare-0", "begin")  # and then it was killed
    watch.look()
    assert "prepare-x: ended without a word" in watch.failure()


def test_a_training_tells_steps_and_losses(tmp_path):
    clock, events = Clock(), EventFile(tmp_path / "events")
    progress = Progress("train-1", 100, logging.getLogger("quiet"), stream=io.StringIO(), clock=clock)
    progress.begin(20)
    for step in range(21, 26):
        clock.now += 0.2
        progress.advance(step, 0.0)
    progress.report("lr 0.1  loss 2.5")
    found = [(one["done"], one["facts"]) for one in events.new()]
    assert found == [(20, ""), (23, ""), (25, "lr 0.1  loss 2.5")]
    Progress("other rank", 100, None).advance(1, 0.0)
    assert list(events.new()) == []
    events.close()


def test_half_a_line_waits_for_its_end(tmp_path):
    events = EventFile(tmp_path / "events")
    line = json.dumps(event("a", "begin"))
    with (tmp_path / "events").open("a") as file:
        file.write(line[:7])
        file.flush()
        assert list(events.new()) == []
        file.write(line[7:] + "\n")
    assert list(events.new()) == [event("a", "begin")]
    events.close()
    assert VARIABLE not in os.environ
    tell("a", "begin")  # nobody listens


def all_of(leader: int) -> str:
    """Everything that was written to a terminal whose other end is closed: a read gives at most one block of it."""
    said = b""
    # An OSError is how Linux says that a closed terminal has no more to read.
    with os.fdopen(leader, "rb", buffering=0) as reading, contextlib.suppress(OSError):
        while block := reading.read(1 << 16):
            said += block
    return said.decode()


def test_a_terminal_has_bars_that_leave_only_the_lines(tmp_path):
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        console = Console(file=terminal, width=120, force_terminal=True)
        assert console.is_terminal
        with Watch(PLAN, LiveBars(console), tmp_path) as watch:
            tell("train-1", "begin")
            tell("train-1", "progress", done=20, total=100, unit="steps", facts="lr 0.1  loss 2.5")
            watch.look()
            watch.surface.progress.refresh()
            tell("train-1", "end", code=0)
    said = all_of(leader)
    assert "20 of 100 steps, loss 2.5" in said and "all stages" in said and "━" in said
    assert "1/4 demo/seed0:source (supervised): 100 steps in 0:00:00, loss 2.5" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is shown again"
