"""Files are whole or absent, whatever happens while they are written."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import (
    StorageError,
    canonical_json,
    digest_of,
    is_leftover,
    read_json,
    replacing,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replacing_shows_the_old_content_until_the_body_has_ended(tmp_path):
    path = tmp_path / "deep" / "scores.csv"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".csv"
        assert is_leftover(temporary)
    assert path.read_text() == "new"
    assert names(path.parent) == ["scores.csv"]


def test_replacing_leaves_nothing_when_the_body_raises(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert names(tmp_path) == []


def test_an_error_that_is_not_about_this_file_passes_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        (tmp_path / "no-such-image.png").read_bytes()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "allowed size")],
)
def test_a_full_disk_names_the_path_and_the_remedy(tmp_path, number, words):
    path = tmp_path / "weights.safetensors"
    write_bytes(path, b"old")
    with pytest.raises(StorageError, match=words) as caught, replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise OSError(number, os.strerror(number))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights.safetensors"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(StorageError, match=r"results.*where a folder is needed"):
        write_text(tmp_path / "results" / "a.txt", "x")


def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    def refuse(self, data):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok: refuse(self, b""))
    with pytest.raises(StorageError, match=r"a\.txt.*read-only"):
        write_text(tmp_path / "a.txt", "x")


LIMITED = """
import resource, sys
from pathlib import Path
from pipeline.artifacts.files import StorageError, write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 5000)
except StorageError as error:
    print(error)
"""


def test_a_real_size_limit_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    assert str(path) in run.stdout
    assert "ulimit -f" in run.stdout
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_json_is_readable_sorted_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "Zürich"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n "a": "Zürich",\n "b": [\n  1,\n  2.5\n ]\n}\n'
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5], "a": "Zürich"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_other_programs_cannot_read(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"a\.json is missing"):
        read_json(tmp_path / "a.json")


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical_json({"b": 1, "a": [True, None, "ü"]}) == '{"a":[true,null,"\\u00fc"],"b":1}'
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1, "b": 2}) != digest_of({"a": 2, "b": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.0})
    assert digest_of([]) == hashlib.sha256(json.dumps([]).encode()).hexdigest()


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
