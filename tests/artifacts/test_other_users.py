"""Files that other users read, and folders that they own or share."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import (
    StorageError,
    check_writable,
    read_json,
    replacing,
    write_json,
    write_text,
)
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.artifacts.lock import FolderLock

FIRST, SECOND, GROUP = 54001, 54002, 54100
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="segadapt-users-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def user(number: int) -> Iterator[None]:
    """Be another user, of the group alone."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(GROUP)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_holds_for_what_a_library_makes_for_the_owner_alone(tmp_path, mask, mode):
    with umask(mask), replacing(tmp_path / "weights.bin") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert stat.S_IMODE((tmp_path / "weights.bin").stat().st_mode) == mode


@needs_root
def test_a_folder_of_somebody_else_is_named_with_its_owner(open_folder):
    with user(FIRST):
        check_writable([Path(tempfile.gettempdir())])
        with pytest.raises(StorageError, match=rf"{open_folder}: Permission denied \(it belongs to root\)"):
            check_writable([open_folder / "results" / "stages"])
    check_writable([open_folder / "results" / "stages"])


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file: Not a directory: a file stands"):
        check_writable([tmp_path, tmp_path / "file" / "results"])


@needs_root
def test_a_folder_that_may_not_be_looked_into_is_named(open_folder):
    (open_folder / "private").mkdir(mode=0o700)
    with user(FIRST), pytest.raises(StorageError, match="private"):
        check_writable([open_folder / "private" / "results"])


@needs_root
def test_a_file_that_may_not_be_read_is_named(open_folder):
    write_json(open_folder / "a.json", {})
    (open_folder / "a.json").chmod(0o600)
    with user(FIRST), pytest.raises(ArtifactError, match=r"a\.json cannot be read: Permission denied"):
        read_json(open_folder / "a.json")


@needs_root
def test_two_users_of_a_group_share_an_artifact(open_folder):
    """With umask 002 in a folder as `mkdir results; chgrp team results; chmod 2775 results` makes it."""
    shared = open_folder / "results"
    shared.mkdir()
    os.chown(shared, 0, GROUP)
    shared.chmod(0o2775)
    artifact = ArtifactFolder(shared / "pretrain" / "key")
    with umask(0o002), user(FIRST), FolderLock(artifact.path):
        write_text(artifact.path / "metrics.csv", "step\n")
        write_text(artifact.state / "training" / "state.json", "{}")
        artifact.publish({"key": "key"})
        write_text(artifact.state / "training" / "state.json", "{}")
    with umask(0o002), user(SECOND):
        check_writable([artifact.path, artifact.run, artifact.state])
        with FolderLock(artifact.path, wait=0.0):
            assert artifact.is_whole()
            artifact.restore_manifest()
            write_text(artifact.path / "metrics.csv", "step, loss\n")
    assert not artifact.state.exists()
    assert (artifact.path / "metrics.csv").stat().st_uid == SECOND
