"""One main process at a time in a folder: it waits for others, and clears what a killed one left."""

import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from workflows import options, run_workflow

from pipeline.artifacts import owners
from pipeline.artifacts.owners import LOCKS, NOTES, LockedError, Owner
from pipeline.commands import main_process, run_lock


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The commands that would have run, each with the descriptor that it inherits."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").touch()
    made = []

    class Group(main_process.ProcessGroup):
        def run(self, command, inherited, watch=None):
            made.append((list(command), inherited))
            return 0

    monkeypatch.setattr(main_process, "_group", lambda arguments: Group())
    return made


def locked(*notes):
    """Leave Snakemake's lock, and these owners' notes."""
    LOCKS.mkdir(parents=True)
    (LOCKS / "0.output.lock").touch()
    NOTES.mkdir()
    for number, note in enumerate(notes):
        (NOTES / f"{number}.json").write_text(json.dumps(vars(note)))


def dead():
    """The note of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait(30)
    return Owner(**{**vars(Owner.this()), "pid": process.pid, "started": 1})


def test_the_lock_of_a_killed_snakemake_is_cleared_first(calls, capsys):
    locked(dead())
    assert run_workflow(options()) == 0
    assert not owners.is_locked() and not owners.owners()
    assert "clearing the lock that a killed run left behind" in capsys.readouterr().out


def test_a_lock_from_another_host_stays_and_is_explained(calls):
    locked(dead(), Owner(**{**vars(dead()), "machine": "elsewhere", "host": "login2"}))
    with pytest.raises(LockedError, match=r"on login2.*snakemake --unlock"):
        run_workflow(options())
    assert owners.is_locked() and calls == []


def test_a_living_snakemake_is_waited_for_and_named(calls, monkeypatch, capsys):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        note = {**vars(Owner.this()), "pid": process.pid, "started": owners.start_time(process.pid)}
        locked(Owner(**note))

        def sleep(seconds):
            assert owners.is_locked() and calls == []
            process.stdin.close()
            process.wait(30)

        monkeypatch.setattr(run_lock, "time", Namespace(sleep=sleep))
        assert run_workflow(options()) == 0
    said = capsys.readouterr().out
    assert said.count(f"another run works here (process {process.pid} on ") == 1


@pytest.fixture
def holder(tmp_path, run_holding):
    (tmp_path / "results").mkdir()
    return run_holding(tmp_path / "results" / ".run-lock")


def test_a_second_run_waits_for_the_first_and_names_it(calls, holder, monkeypatch, capsys):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        assert calls == [], "nothing runs while the other one works"
        if len(waits) == 3:
            holder.stdin.write("\n")
            holder.stdin.flush()
            holder.wait(30)

    monkeypatch.setattr(run_lock, "time", Namespace(sleep=sleep))
    assert run_workflow(options()) == 0
    assert len(waits) == 3 and len(calls) == 1
    said = capsys.readouterr().out.splitlines()
    assert said.count(f"another run works here (process {holder.pid}); waiting for it") == 1


def test_the_lock_is_free_once_its_holder_was_killed(calls, holder, monkeypatch):
    monkeypatch.setattr(run_lock, "time", None)  # it must not wait
    holder.kill()
    holder.wait(30)
    assert run_workflow(options()) == 0
    assert Path("results/.run-lock").read_text() == f"{os.getpid()}\n"


def test_a_snakemake_that_outlives_start_keeps_the_lock(tmp_path, monkeypatch, capsys):
    """`start` alone was killed: its Snakemake still runs jobs, so a new run must wait for it."""
    path = tmp_path / "run-lock"
    with run_lock.sole_run(path) as lock:
        survivor = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.readline()"],
            stdin=subprocess.PIPE,
            pass_fds=[lock.descriptor],
        )

    def sleep(seconds):
        assert survivor.poll() is None
        survivor.stdin.close()
        survivor.wait(30)

    monkeypatch.setattr(run_lock, "time", Namespace(sleep=sleep))
    path.write_text(f"{dead().pid}\n")
    with run_lock.sole_run(path):
        assert survivor.poll() is not None
    assert re.search(r"\(the Snakemake of process \d+, which has ended\); waiting", capsys.readouterr().out)
