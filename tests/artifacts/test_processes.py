"""A dead owner is told from a living one."""

import os
import subprocess
import sys
import time

from pipeline.artifacts.processes import group_lives, machine_identity, process_age, start_time


def test_a_process_keeps_its_start_time_and_another_has_another():
    assert start_time(os.getpid()) == start_time(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert start_time(child.pid) >= start_time(os.getpid())
    finally:
        child.communicate(b"\n")


def test_a_dead_process_has_none_even_while_its_parent_has_not_noticed():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped: a zombie
    assert start_time(child.pid) is None
    child.wait()
    assert start_time(child.pid) is None


def test_the_machine_is_the_same_for_a_child():
    code = "from pipeline.artifacts.processes import machine_identity; print(machine_identity())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == machine_identity()


def test_the_age_of_this_process_grows_with_the_clock():
    before = time.monotonic()
    first = process_age()
    while time.monotonic() < before + 0.03:  # one clock tick is a hundredth of a second
        pass
    grown = process_age() - first
    assert first > 0
    assert grown >= 0.02


def test_a_group_lives_as_long_as_one_of_its_processes_runs():
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']); print('started', flush=True)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    leader = subprocess.Popen([sys.executable, "-c", script], process_group=0, **pipes)
    leader.stdout.readline()
    assert group_lives(leader.pid)
    leader.stdin.close()
    leader.stdout.read()  # ends with the last process that holds it
    while group_lives(leader.pid):
        pass
    assert leader.wait(30) == 0, "one that is not waited for yet does not count"
