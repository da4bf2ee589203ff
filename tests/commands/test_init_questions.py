"""`init` without options: a terminal is asked, anything else is refused."""

import pytest
from strangers import held_out, library, refused, source, target

from pipeline.__main__ import main
from pipeline.commands import first_times
from pipeline.config.load import load_config
from pipeline.datasets.listing import list_split
from pipeline.plan.planner import Planner
from pipeline.stages import measuring_server


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch):
    monkeypatch.setattr(first_times, "time_lines", lambda run, size: [])
    monkeypatch.setattr(measuring_server, "start_server", lambda: None)


def answering(monkeypatch, *answers):
    """A terminal at which somebody gives these answers; returns the questions."""
    asked, left = [], list(answers)

    def answer(question):
        asked.append(question)
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    return asked


def test_without_options_enter_is_enough(clone, tmp_path, monkeypatch, capsys):
    source(clone)
    target(clone)
    monkeypatch.chdir(clone)
    asked = answering(monkeypatch, "", "", "", "", "")
    assert main(["init"]) == 0
    guessed = [question.rpartition("[")[2].partition("]")[0] for question in asked]
    assert guessed == ["sim/rgb", "sim/sem", "photos", "none", "photos"]
    told = capsys.readouterr().out
    assert "  5 pictures, such as IMG_0.jpg" in told
    words = "--source-images sim/rgb --source-labels sim/sem --target-images photos --name photos"
    assert f"python -m pipeline init {words}" in told
    assert len(Planner(load_config(["config/photos.yaml"])).plan()) == 2


def test_other_answers_and_mistakes(clone, tmp_path, monkeypatch, capsys):
    source(clone)
    target(clone)
    held_out(clone)
    monkeypatch.chdir(clone)
    asked = answering(monkeypatch, "gone", "", "", "", "", "", "mine")
    assert main(["init", "--target-ids", "ignore=7", "class_3=8"]) == 0
    assert "there is no" in capsys.readouterr().out
    assert [one.rpartition("[")[2] for one in asked[4:6]] == ["test/pic]: ", "test/ids]: "]
    assert list_split(library().dataset("mine-heldout", "test"), "val", True).names == ("0", "1", "2")


def test_an_input_that_ends_writes_nothing(clone, tmp_path, monkeypatch, capsys):
    answering(monkeypatch, "")
    assert main(["init"]) == 2
    refused(capsys, "the input ended before all was answered")
    assert not list(clone.glob("config/*/photos*"))


@pytest.mark.parametrize("words", [[], ["--name", "mine"]])
def test_without_a_terminal_nothing_is_asked(clone, monkeypatch, capsys, words):
    monkeypatch.setattr("sys.stdin.isatty", lambda: bool(words), raising=False)
    assert main(["init", *words]) == 2
    refused(capsys, "--source-images, --source-labels, --target-images; without any option it asks")
