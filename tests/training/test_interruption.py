"""A signal, a deadline or a lost parent is a reason to stop; nothing else happens."""

import os
import signal
import subprocess
import sys

import pytest

from pipeline.training.interruption import SIGNALS, Interruption


class Clock:
    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ends():
    return []


@pytest.fixture
def interruption(clock, ends):
    with Interruption(clock=clock, age=lambda: 0.0, end=ends.append) as found:
        yield found


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_only_noted(interruption, ends, number):
    assert interruption.reason() is None
    send(number)
    assert interruption.reason() == f"received {number.name}"
    assert interruption.reason() == f"received {number.name}"
    assert ends == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGINT, signal.SIGTERM),
    ],
)
def test_a_second_signal_ends_at_once(interruption, ends, first, second):
    send(first)
    assert ends == []
    send(second)
    assert ends == [128 + second]


def test_a_second_sigterm_ends_at_once_unless_it_is_the_same_delivery(interruption, ends, clock):
    send(signal.SIGTERM)
    clock.now += 4.9
    send(signal.SIGTERM)
    assert ends == []
    clock.now += 0.1
    send(signal.SIGTERM)
    assert ends == [143]


def test_the_warning_before_the_time_limit_does_not_make_sigterm_the_second(interruption, ends, clock):
    send(signal.SIGUSR1)
    clock.now += 60
    send(signal.SIGUSR1)
    assert interruption.reason() == "received SIGUSR1"
    send(signal.SIGTERM)
    assert interruption.reason() == "received SIGTERM"
    send(signal.SIGUSR1)
    assert ends == []
    clock.now += 60
    send(signal.SIGTERM)
    assert ends == [143]


def test_the_former_handlers_come_back(clock):
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption(clock=clock, age=lambda: 0.0):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_budget_counts_from_the_start_of_the_process(clock):
    interruption = Interruption(10, lambda: 90.0, clock=clock, age=lambda: 8.0)
    clock.now += 600 - 8 - 90 - 1
    assert interruption.reason() is None
    clock.now += 1
    assert interruption.reason() == "the runtime of 10 minutes is nearly used up"


def test_a_margin_learned_later_counts(clock):
    interruption = Interruption(10, clock=clock, age=lambda: 0.0)
    clock.now += 480
    assert interruption.reason() is None
    interruption.margin = lambda: 120.0
    assert interruption.reason()


def test_half_of_a_budget_is_used_however_large_the_margin(clock):
    interruption = Interruption(1, lambda: 1000.0, clock=clock, age=lambda: 0.0)
    clock.now += 29
    assert interruption.reason() is None
    clock.now += 1
    assert interruption.reason()


def test_without_a_budget_there_is_no_deadline(clock):
    interruption = Interruption(clock=clock, age=lambda: 0.0)
    clock.now += 1e9
    assert interruption.reason() is None


def test_a_lost_parent_is_a_reason():
    parents = iter([77, 77, 1])
    interruption = Interruption(parent=lambda: next(parents))
    assert interruption.reason() is None
    assert interruption.reason() == "the process that started this stage has gone"


ORPHAN = """
import os, sys, time
from pipeline.training.interruption import Interruption
sys.stdin.close()
interruption = Interruption()
print("ready", flush=True)
while interruption.reason() is None:
    time.sleep(0.001)
print(interruption.reason(), flush=True)
"""

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=sys.stdout)
sys.stdin.read()
"""


def test_a_real_kill_of_the_parent_is_seen():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout.readline() == "ready\n"
    parent.kill()
    assert parent.stdout.readline() == "the process that started this stage has gone\n"
    parent.stdin.close()
    parent.stdout.close()
    parent.wait()


TWICE = """
import os, signal
from pipeline.training.interruption import Interruption
with Interruption():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here")
"""


def test_the_second_signal_really_ends_the_process():
    run = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=False)
    assert run.returncode == 143
    assert run.stdout == ""


WORKER = """
import os
from pipeline.artifacts.signals import SIGNALS, leave_signals_to_parent
leave_signals_to_parent()
for number in SIGNALS:
    os.kill(os.getpid(), number)
print("still here")
"""


def test_a_worker_survives_what_its_parent_handles():
    run = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=True)
    assert run.stdout == "still here\n"
