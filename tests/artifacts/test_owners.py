"""Whose lock it is: notes of living, dead, foreign and unknown owners."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.artifacts import owners
from pipeline.artifacts.owners import LOCKS, NOTES, LockedError, Owner, clear_lock, is_locked, living, sign

SIGNS = "import sys; from pipeline.artifacts.owners import sign; sign(); print('signed', flush=True); input()"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    NOTES.mkdir(parents=True)


@pytest.fixture
def signed():
    """A living process that has signed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(owners.__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SIGNS], env=environment, **pipes) as process:
        assert process.stdout.readline() == "signed\n"
        yield process
        process.stdin.close()


def lock():
    LOCKS.mkdir(parents=True)
    (LOCKS / "0.output.lock").touch()


def leave(name, **changes):
    """Leave a note like this process's, with changes."""
    (NOTES / f"{name}.json").write_text(json.dumps({**vars(Owner.this()), **changes}))


def test_a_living_owner_is_named_and_its_lock_stays(signed):
    lock()
    assert [owner.pid for owner in living()] == [signed.pid]
    with pytest.raises(LockedError, match=f"process {signed.pid} on "):
        clear_lock()
    assert is_locked()


def test_an_owner_that_ends_takes_its_note_along(signed):
    signed.stdin.close()
    assert signed.wait(30) == 1  # input() meets the end of its file
    assert owners.owners() == {}


def test_the_lock_of_a_killed_owner_is_cleared(signed):
    lock()
    signed.send_signal(signal.SIGKILL)
    signed.wait(30)
    assert living() == []
    assert clear_lock()
    assert not is_locked() and owners.owners() == {}
    assert not clear_lock()


def test_a_number_that_another_process_has_now_is_not_its_owner():
    lock()
    leave("mine", started=1)
    assert clear_lock()


def test_a_lock_without_any_note_is_explained():
    lock()
    with pytest.raises(LockedError, match=r"nobody left a note.*`snakemake --unlock`"):
        clear_lock()


def test_a_damaged_note_clears_nothing():
    lock()
    (NOTES / "x.json").write_text("{")
    with pytest.raises(LockedError, match="an unknown host"):
        clear_lock()


def test_an_owner_elsewhere_is_unknown_and_one_from_before_a_reboot_is_dead(monkeypatch):
    for name, value in (
        ("machine_identity", "boot2 pid:[1]"),
        ("host_name", "here"),
        ("permanent_identity", "7"),
    ):
        monkeypatch.setattr(owners, name, lambda value=value: value)
    note = {**vars(Owner.this()), "started": 1, "machine": "boot1 pid:[1]"}
    assert Owner(**note).state() == "dead"
    assert Owner(**{**note, "host": "there"}).state() == "unknown"
    assert Owner(**{**note, "permanent": "8"}).state() == "unknown"
    assert Owner(**{**note, "machine": "boot2 pid:[2]"}).state() == "unknown", "another container"
    monkeypatch.setattr(owners, "permanent_identity", str)
    assert Owner(**{**note, "permanent": ""}).state() == "unknown"


def test_signing_forgets_what_can_hold_no_lock():
    leave("dead", started=1)
    leave("foreign", machine="elsewhere", host="there")
    leave("long-ago", machine="elsewhere", host="there")
    os.utime(NOTES / "long-ago.json", (time.time() - 7200,) * 2)
    lock()
    sign()
    assert len(owners.owners()) == 4, "while a lock is there, its owner may be any of them"
    (LOCKS / "0.output.lock").unlink()
    sign()
    assert {path.stem for path in owners.owners()} >= {"foreign"}
    assert not {path.stem for path in owners.owners()} & {"dead", "long-ago"}
