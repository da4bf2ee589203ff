"""One process at a time in a folder: twins, dead owners, silent owners, and a race of many."""

import json
import os
import subprocess
import sys
import threading

import pytest

from pipeline.artifacts import lock as lock_module
from pipeline.artifacts.files import StorageError
from pipeline.artifacts.lock import FolderBusyError, FolderLock


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def make(folder, clock, **options):
    return FolderLock(folder, clock=clock, sleep=clock.sleep, **options)


def only_lock(folder):
    (path,) = (folder / "run").glob("lock-*.json")
    return path


def pretend(path, **changes):
    """Change the owner in a lock file but not its heartbeat."""
    stat = path.stat()
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_the_file_names_the_owner(tmp_path, clock, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with make(tmp_path, clock) as lock:
        owner = json.loads(only_lock(tmp_path).read_text())
        assert owner["pid"] == os.getpid()
        assert owner["job"] == "4711"
        assert owner["host"]
        assert only_lock(tmp_path).stat().st_mtime == clock.now
        assert lock.still_ours()
    assert not lock.still_ours()


def test_a_released_folder_can_be_taken_at_once_and_again(tmp_path, clock):
    for _ in range(3):
        with make(tmp_path, clock):
            only_lock(tmp_path)
    assert clock.now == 1_000_000.0


def test_a_twin_waits_a_minute_and_names_the_owner(tmp_path, clock):
    with make(tmp_path, clock) as lock:
        pretend(only_lock(tmp_path), host="node7", job="4711")
        with pytest.raises(FolderBusyError) as caught, make(tmp_path, clock):
            pytest.fail("two owners")
        assert clock.now == 1_000_060.0
        for words in (str(tmp_path), f"process {os.getpid()} on node7, SLURM job 4711", "60 s old"):
            assert words in str(caught.value)
        assert lock.still_ours()


def test_a_twin_goes_on_when_the_owner_ends_in_time(tmp_path, clock):
    owner = make(tmp_path, clock)
    owner.__enter__()

    def sleep(seconds):
        clock.now += seconds
        if clock.now == 1_000_020.0:
            owner.__exit__(None, None, None)

    with FolderLock(tmp_path, clock=clock, sleep=sleep) as twin:
        assert clock.now == 1_000_020.0
        assert twin.still_ours()


def take_over_at_once(folder, clock):
    with make(folder, clock) as lock:
        assert clock.now == 1_000_000.0
        assert lock.still_ours()
        assert json.loads(only_lock(folder).read_text())["pid"] == os.getpid()


HOLDER = """
import os, sys
from pathlib import Path
from pipeline.artifacts.lock import FolderLock
FolderLock(Path(sys.argv[1])).__enter__()
print("held", flush=True)
sys.stdin.read()
"""


def hold(folder):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    return child


def test_two_processes_and_the_kill_of_the_first(tmp_path, clock):
    child = hold(tmp_path)
    try:
        with pytest.raises(FolderBusyError, match=f"process {child.pid} "), make(tmp_path, clock):
            pytest.fail("two owners")
        clock.now = 1_000_000.0
    finally:
        child.kill()
        child.communicate()
    take_over_at_once(tmp_path, clock)


def test_a_process_number_given_to_another_process_does_not_count(tmp_path, clock):
    abandoned = make(tmp_path, clock)
    abandoned.__enter__()
    pretend(only_lock(tmp_path), started=1)
    take_over_at_once(tmp_path, clock)


def test_a_living_owner_on_this_machine_keeps_the_folder_though_silent(tmp_path, clock):
    with make(tmp_path, clock):
        clock.now += 10_000
        with pytest.raises(FolderBusyError), make(tmp_path, clock):
            pytest.fail("two owners")


def test_an_owner_elsewhere_is_dead_after_five_silent_minutes(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(lock_module, "machine_identity", lambda: "node7")
    elsewhere = make(tmp_path, clock)
    elsewhere.__enter__()
    monkeypatch.setattr(lock_module, "machine_identity", lambda: "node8")
    clock.now += 200
    assert elsewhere.beat()
    clock.now += 239
    with pytest.raises(FolderBusyError), make(tmp_path, clock):
        pytest.fail("299 seconds of silence are not enough")
    with make(tmp_path, clock) as taken:
        assert taken.still_ours()
        assert not elsewhere.still_ours()
        assert not elsewhere.beat()
        elsewhere.__exit__(None, None, None)
        assert taken.still_ours()
        with pytest.raises(FolderBusyError), make(tmp_path, clock):
            pytest.fail("the old owner released a lock that was not its own")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_damaged_lock_file_counts_until_it_is_old(tmp_path, clock, content):
    path = tmp_path / "run" / "lock-5.json"
    path.parent.mkdir()
    path.write_text(content)
    os.utime(path, (clock.now, clock.now))
    with pytest.raises(FolderBusyError, match=r"on \?"), make(tmp_path, clock):
        pytest.fail("it may be alive")
    clock.now += 240
    with make(tmp_path, clock):
        assert only_lock(tmp_path).name == "lock-6.json"


def test_a_number_that_had_come_and_gone_is_given_back(tmp_path, clock, monkeypatch):
    """A slow taker saw number 0; meanwhile 1 was taken and removed, and 2 is held."""
    holder, late = make(tmp_path, clock, wait=0), make(tmp_path, clock, wait=0)
    holder.__enter__()
    held = only_lock(tmp_path).rename(tmp_path / "run" / "lock-2.json")
    holder._file = held
    answers = iter([None])
    real = late._newest
    monkeypatch.setattr(late, "_newest", lambda: next(answers) if answers.__length_hint__() else real())
    with pytest.raises(FolderBusyError):
        late.__enter__()
    assert only_lock(tmp_path) == held
    assert holder.still_ours()


def test_of_two_who_saw_the_owner_dead_one_wins(tmp_path, clock, monkeypatch):
    """The rival takes the dead owner's lock after the first looked and before it acts."""
    dead = tmp_path / "run" / "lock-1.json"
    dead.parent.mkdir()
    dead.write_text("{}")
    os.utime(dead, (1, 1))
    first, rival = make(tmp_path, clock, wait=0), make(tmp_path, clock, wait=0)
    create = first._create

    def create_late(path):
        rival.__enter__()
        return create(path)

    monkeypatch.setattr(first, "_create", create_late)
    with pytest.raises(FolderBusyError, match=f"process {os.getpid()}"):
        first.__enter__()
    assert rival.still_ours()
    assert not first.still_ours()


def test_the_heartbeat_thread_renews_the_file_and_stops_with_the_block(tmp_path, monkeypatch):
    beats = threading.Semaphore(0)
    real = FolderLock.beat
    monkeypatch.setattr(lock_module, "HEARTBEAT", 0.001)
    monkeypatch.setattr(FolderLock, "beat", lambda self: (real(self), beats.release())[0])
    clock = Clock()
    with make(tmp_path, clock):
        clock.now += 30
        while beats.acquire(blocking=False):
            pass  # beats from before
        for _ in range(2):  # the first may have begun before, too
            assert beats.acquire(timeout=10)
        assert only_lock(tmp_path).stat().st_mtime == clock.now
    assert only_lock(tmp_path).stat().st_mtime == 0


def test_a_disk_without_hard_links_will_do(tmp_path, clock, monkeypatch):
    def no_links(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with make(tmp_path, clock), pytest.raises(FolderBusyError), make(tmp_path, clock):
        pytest.fail("two owners")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, clock):
    (tmp_path / "stage").write_text("in the way")
    with pytest.raises(StorageError, match="stage"), make(tmp_path / "stage", clock):
        pytest.fail("no lock can be held there")
