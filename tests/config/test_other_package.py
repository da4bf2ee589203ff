"""A folder with a package of the program's name: its jobs would be that package's."""

from pathlib import Path

import pytest

import pipeline
from pipeline.__main__ import main
from pipeline.artifacts.errors import ConfigError
from pipeline.config.shipped import check_package


@pytest.mark.parametrize("place", ["pipeline/__init__.py", "pipeline.py"])
@pytest.mark.parametrize("words", [["init"], ["start"], ["suggest", "--experiment", "demo"]])
def test_it_is_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys, place, words):
    other = tmp_path / place
    other.parent.mkdir(exist_ok=True)
    other.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {other}: jobs would take it") and "work in another folder" in said
    assert {path.name for path in tmp_path.iterdir()} == {place.split("/")[0]}


def test_the_programs_own_and_a_folder_that_is_no_package_are_not(tmp_path):
    check_package(Path(pipeline.__file__).parents[1])
    (tmp_path / "pipeline").mkdir()
    check_package(tmp_path)
    (tmp_path / "pipeline/__init__.py").touch()
    with pytest.raises(ConfigError):
        check_package(tmp_path)
