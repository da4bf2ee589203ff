"""Two processes on one stage: the second waits, then finds it finished or stops naming the owner."""

import functools
import os
import shutil
import subprocess
import sys

import pytest
from world import REPOSITORY, digests

from pipeline.artifacts.lock import FolderLock
from pipeline.stages import runner

OWNER = """
import sys
from pathlib import Path
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.artifacts.lock import FolderLock
folder = Path(sys.argv[1])
with FolderLock(folder):
    print("held", flush=True)
    if sys.stdin.readline().strip() == "finish":
        ArtifactFolder(folder).restore_manifest()
    print("released", flush=True)
"""


@pytest.fixture
def owner(world):
    """A process that holds the lock of the stage `intra`, whose files it then finishes."""
    folder = world.artifact("intra").path
    shutil.rmtree(folder / "run")
    (folder / "files.json").rename(folder / "files.kept")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()
    process.wait(30)


def test_the_second_waits_and_finds_the_stage_finished(world, finished_world, owner, monkeypatch):
    folder = world.artifact("intra").path
    waits = []

    def sleep(seconds):
        if not waits:
            (folder / "files.kept").rename(folder / "files.json")
            owner.stdin.write("finish\n")
            owner.stdin.flush()
            assert owner.stdout.readline() == "released\n"
            owner.wait(30)
        waits.append(seconds)

    monkeypatch.setattr(runner, "FolderLock", functools.partial(FolderLock, sleep=sleep))
    assert world.run("intra") == 0
    assert waits
    assert not (folder / "run" / "history.json").exists(), "nothing was computed again"
    assert digests(world.results) == digests(finished_world.results)


def test_the_second_stops_and_names_the_owner_that_goes_on(world, owner, monkeypatch):
    now = [1_000_000.0]

    def sleep(seconds):
        now[0] += seconds

    lock = functools.partial(FolderLock, sleep=sleep, clock=lambda: now[0])
    monkeypatch.setattr(runner, "FolderLock", lock)
    assert world.run("intra") == 1
    assert now[0] == 1_000_060.0
    assert f"in use by process {owner.pid} on" in world.log("intra").read_text()
    assert not (world.artifact("intra").run / "failed.json").exists(), "it may well pass later"
    assert not (world.artifact("intra").run / "history.json").exists()


def test_the_second_touches_nothing_while_the_owner_publishes(world, finished_world, owner, monkeypatch):
    """The owner has published its files and is writing the manifest: its temporary file is not a leftover."""
    folder = world.artifact("intra").path
    (folder / "files.kept").rename(folder / "files.json")
    (folder / "artifact.json").unlink()
    temporary = folder / ".partial-0123456789ab-artifact.json"
    temporary.write_text("half")

    def sleep(seconds):
        if temporary.exists():
            temporary.unlink()
            owner.stdin.write("finish\n")
            owner.stdin.flush()
            owner.wait(30)

    monkeypatch.setattr(runner, "FolderLock", functools.partial(FolderLock, sleep=sleep))
    assert world.run("intra") == 0
    assert owner.poll() == 0
    assert digests(world.results) == digests(finished_world.results)
