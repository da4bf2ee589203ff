"""Each verb that computes says first, and by name, where it may not write."""

import errno
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.artifacts import files


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A folder beside the shipped configuration that this process may not write."""
    (tmp_path / "config").symlink_to(Path(__file__).resolve().parents[2] / "config")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    folder.mkdir()
    real = files._obstacle
    monkeypatch.setattr(
        files, "_obstacle", lambda place: errno.EACCES if place.resolve() == folder else real(place)
    )
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["start"],
        ["suggest", "--experiment", "demo", "--count", "2", "--train"],
    ],
)
def test_a_results_folder_of_somebody_else_ends_it_before_anything_runs(closed, capsys, monkeypatch, words):
    Path("results").symlink_to(closed)
    for name in ("start", "suggest"):
        monkeypatch.setattr(f"pipeline.commands.{name}.run_workflow", lambda *_: pytest.fail("it runs"))
    assert main(words) == 2
    assert "cannot write" in (said := capsys.readouterr().err) and "it belongs to" in said
    assert list(closed.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--model", "none", "--dataset", "streets-camera", "--out", "theirs/x.json"],
        ["evaluate", "--model", "none", "--dataset", "streets-camera", "--out", "theirs"],
        ["predict", "--model", "none", "--images", "config", "--out", "theirs/new"],
        ["suggest", "--experiment", "demo", "--count", "2", "--out", "theirs/list.txt"],
    ],
)
def test_an_output_that_cannot_be_written_ends_it_before_the_model_is_read(closed, capsys, words):
    assert main(words) == 2
    assert "theirs" in capsys.readouterr().err


def test_what_may_not_be_read_is_named_without_a_traceback(closed, capsys, monkeypatch):
    def refuse(arguments):
        raise PermissionError(errno.EACCES, "Permission denied", "model/model.safetensors")

    monkeypatch.setattr("pipeline.commands.plan.execute", refuse)
    assert main(["plan"]) == 2
    assert "model/model.safetensors: permission denied" in capsys.readouterr().err
