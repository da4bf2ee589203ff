"""Size, time and content of the files of a split, as they are noted beside a prepared artifact."""

import os

import pytest

from pipeline.artifacts.errors import DataError, Interrupted, StateError
from pipeline.artifacts.files import StorageError
from pipeline.datasets import contents
from pipeline.datasets.contents import Contents, hashes_of, remember, stamps_of


@pytest.fixture
def files(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    return {name: tmp_path / name for name in "abc"}


@pytest.fixture
def noted(files):
    return Contents.noted(stamps_of(files), files, hashes_of(files.values(), 2))


def later(path):
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


def test_what_is_written_is_read_again(noted, tmp_path):
    noted.write(tmp_path / "contents.json")
    assert Contents.read(tmp_path / "contents.json") == noted
    assert noted.now == noted.made


@pytest.mark.parametrize("text", ["", "{", "[]", '{"made": "x"}', '{"made": "x", "files": {"a": [1]}}'])
def test_a_damaged_note_is_no_note(tmp_path, text):
    (tmp_path / "contents.json").write_text(text)
    assert Contents.read(tmp_path / "contents.json") is None


def test_only_files_of_another_time_are_read(files, noted, monkeypatch):
    later(files["b"])
    read = []
    monkeypatch.setattr(contents, "sha256_file", lambda path: read.append(path) or "0" * 64)
    assert noted.touched(files) == ["b"]
    assert noted.look_again({"b": files["b"]}) == ["b"]
    assert read == [files["b"]]
    assert noted.touched(files) == [] and noted.now != noted.made


def test_the_same_content_under_another_time_is_the_same(files, noted):
    later(files["b"])
    assert noted.look_again({"b": files["b"]}) == []
    assert noted.now == noted.made and noted.touched(files) == []


def test_a_file_that_changes_while_it_is_prepared_is_named(files):
    before = stamps_of(files)
    later(files["c"])
    with pytest.raises(StateError, match="c changed while it was prepared"):
        Contents.noted(before, files, ["0"] * 3)


def test_an_unreadable_file_is_named(files):
    files["b"].unlink()
    files["b"].mkdir()
    with pytest.raises(DataError, match="b: cannot be read"):
        hashes_of(files.values(), 2)


def test_reading_stops_when_asked(files):
    with pytest.raises(Interrupted, match="SIGTERM"):
        hashes_of(files.values(), 2, lambda: "SIGTERM")


def test_somebody_elses_folder_is_left_alone(noted, tmp_path, monkeypatch):
    def refused(path, value):
        raise StorageError("read-only")

    monkeypatch.setattr(contents, "write_json", refused)
    remember(noted, tmp_path / "contents.json")
    assert not (tmp_path / "contents.json").exists()
