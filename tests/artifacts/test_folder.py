"""A finished artifact is whole, or its reader is told which file is not and what to do."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pipeline.artifacts import folder as folder_module
from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import digest_of, write_bytes, write_json, write_text
from pipeline.artifacts.folder import ArtifactFolder

HEADER = {"key": "split-0123456789ab", "kind": "split", "version": 1, "parents": {"ranking": "ab" * 32}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def finished(tmp_path):
    folder = ArtifactFolder(tmp_path / HEADER["key"])
    write_text(folder.path / "easy.csv", "a\nb\n")
    write_bytes(folder.path / "maps" / "part-0.bin", bytes(range(256)))
    write_text(folder.state / "step-1" / "x", "state")
    write_text(folder.run / "log.txt", "took 3 s")
    folder.publish(HEADER)
    return folder


def test_publish_writes_header_files_and_digest(finished):
    manifest = json.loads((finished.path / "artifact.json").read_text())
    assert {key: manifest[key] for key in HEADER} == HEADER
    assert set(manifest["files"]) == {"easy.csv", "maps/part-0.bin"}
    assert manifest["files"]["maps/part-0.bin"]["size"] == 256
    assert manifest == finished.load()
    assert finished.is_whole()


def test_the_digest_covers_the_files_alone(finished, tmp_path):
    twin = ArtifactFolder(tmp_path / "other-name")
    write_bytes(twin.path / "maps" / "part-0.bin", bytes(range(256)))
    write_text(twin.path / "easy.csv", "a\nb\n")
    write_text(twin.run / "log.txt", "took 99 s")
    assert twin.publish({"key": "other"})["digest"] == finished.load()["digest"]
    write_text(twin.path / "easy.csv", "a\nc\n")
    assert twin.publish({"key": "other"})["digest"] != finished.load()["digest"]


def test_publish_removes_the_training_state_and_leftovers(tmp_path):
    folder = ArtifactFolder(tmp_path / "k")
    write_text(folder.path / "a.txt", "a")
    write_text(folder.state / "s", "s")
    (folder.path / ".partial-0011-weights.safetensors").write_bytes(b"half")
    assert set(folder.publish({})["files"]) == {"a.txt"}
    assert names(folder.path) == ["a.txt", "artifact.json", "files.json"]


def test_the_manifest_comes_back_after_snakemake_deleted_it(finished):
    before = (finished.path / "artifact.json").read_bytes()
    (finished.path / "artifact.json").unlink()
    assert finished.is_whole()
    with pytest.raises(ArtifactError, match="has not finished"):
        finished.load()
    finished.restore_manifest()
    assert (finished.path / "artifact.json").read_bytes() == before
    assert finished.load()["digest"]


def test_restoring_removes_the_state_that_a_kill_left(finished):
    write_text(finished.state / "s", "s")
    finished.restore_manifest()
    assert not finished.state.exists()


def test_an_unfinished_folder_is_not_whole(tmp_path):
    folder = ArtifactFolder(tmp_path / "k")
    assert not folder.is_whole()
    write_text(folder.path / "a.txt", "a")
    assert not folder.is_whole()


def alter(path):
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (alter, "SHA-256"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "255 bytes instead of 256"),
        (lambda path: path.write_bytes(bytes(256)), "SHA-256"),
    ],
)
def test_a_harmed_file_is_named_with_the_remedy(finished, harm, words):
    harm(finished.path / "maps" / "part-0.bin")
    assert not finished.is_whole()
    with pytest.raises(ArtifactError, match=words) as caught:
        finished.load()
    assert "maps/part-0.bin" in str(caught.value)
    assert "python -m pipeline clean split-0123456789ab" in str(caught.value)
    assert "easy.csv" not in str(caught.value)


def test_a_link_in_the_place_of_a_file_is_refused(finished, tmp_path):
    path = finished.path / "easy.csv"
    path.rename(tmp_path / "elsewhere.csv")
    path.symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(ArtifactError, match=r"easy\.csv is missing"):
        finished.load()
    with pytest.raises(ArtifactError, match="is a link"):
        finished.publish(HEADER)


def test_an_edited_manifest_is_refused(finished):
    path = finished.path / "artifact.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(ArtifactError, match=r"artifact\.json was altered"):
        finished.load()


def test_any_flipped_bit_in_files_json_is_seen(finished):
    path = finished.path / "files.json"
    good = path.read_bytes()
    meant = json.loads(good)
    rng = np.random.default_rng(3)
    for offset in rng.integers(0, len(good), 50):
        data = bytearray(good)
        data[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            same = json.loads(bytes(data)) == meant
        except ValueError:
            same = False
        assert finished.is_whole() == same


def test_a_table_that_points_outside_the_folder_is_refused(finished):
    (finished.path.parent / "secret").write_text("s")
    content = {"header": {}, "files": {"../secret": {"size": 1, "sha256": "0" * 64}}}
    write_json(finished.path / "files.json", {**content, "checksum": digest_of(content)})
    with pytest.raises(ArtifactError, match="outside the artifact"):
        finished.load()


@pytest.mark.parametrize("name", ["digest", "files"])
def test_a_header_cannot_hide_the_digest(tmp_path, name):
    folder = ArtifactFolder(tmp_path / "k")
    with pytest.raises(ArtifactError, match=name):
        folder.publish({name: "x"})


@pytest.fixture
def counted(monkeypatch):
    """The names hashed, in order; files above 100 bytes count as large."""
    hashed = []
    real = folder_module.sha256_file

    def counting(path):
        hashed.append(path.name)
        return real(path)

    monkeypatch.setattr(folder_module, "sha256_file", counting)
    monkeypatch.setattr(folder_module, "REMEMBERED_FROM", 100)
    return hashed


def test_a_large_file_is_hashed_once_until_it_changes(counted, finished):
    path = finished.path / "maps" / "part-0.bin"
    assert counted == ["easy.csv", "part-0.bin"]
    finished.load()
    assert counted.count("part-0.bin") == 1
    assert counted.count("easy.csv") == 2
    os.utime(path, ns=(1, 1))
    finished.load()
    finished.load()
    assert counted.count("part-0.bin") == 2
    stat = path.stat()
    alter(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(ArtifactError, match=r"part-0\.bin was altered"):
        finished.load()


def test_an_audit_sees_what_the_memo_hides(counted, finished):
    path = finished.path / "maps" / "part-0.bin"
    stat = path.stat()
    alter(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert finished.problems() == []
    assert [line.split()[0] for line in finished.audit()] == ["maps/part-0.bin"]


def test_a_damaged_memo_is_forgotten(counted, finished):
    (finished.run / "verified.json").write_text("[1, 2")
    assert finished.is_whole()
    (finished.run / "verified.json").write_text("[1]")
    assert finished.is_whole()


def test_beyond_the_budget_only_sizes_count(finished, monkeypatch):
    monkeypatch.setattr(folder_module, "HASHED_IN_TOTAL", 10)
    alter(finished.path / "maps" / "part-0.bin")
    assert finished.is_whole()
    alter(finished.path / "easy.csv")
    assert [line.split()[0] for line in finished.problems()] == ["easy.csv"]
    assert len(finished.audit()) == 2


KILLED = """
import os, sys
from pathlib import Path
from pipeline.artifacts import files, folder
moment, path = int(sys.argv[1]), Path(sys.argv[2])
calls = 0
def die(path):
    global calls
    calls += 1
    if calls == moment:
        os.kill(os.getpid(), 9)
files.flush_to_disk = folder.flush_to_disk = die
folder.ArtifactFolder(path).publish({"key": "k"})
"""


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_kill_while_publishing_leaves_no_wrong_artifact(tmp_path, moment):
    folder = ArtifactFolder(tmp_path / "k")
    for name in ("a.txt", "b.txt"):
        write_text(folder.path / name, name)
    write_text(folder.state / "s", "s")
    done = subprocess.run([sys.executable, "-c", KILLED, str(moment), str(folder.path)], check=False)
    finished_before_the_kill = moment == 7  # two files, then two flushes for each of the two tables
    assert done.returncode == (0 if finished_before_the_kill else -9)
    assert folder.state.exists() or finished_before_the_kill
    if not folder.is_whole():
        folder.publish({"key": "k"})
    manifest = folder.restore_manifest()
    assert manifest == folder.load()
    assert set(manifest["files"]) == {"a.txt", "b.txt"}
    assert not folder.state.exists()
    assert names(folder.path) == ["a.txt", "artifact.json", "b.txt", "files.json"]
