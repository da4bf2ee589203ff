"""`clean` lists and, asked to, removes a stage with what was made from it, or what nothing needs."""

import functools
import os
from pathlib import Path

import pytest
from small_results import MODEL, RANK, SOURCE, STAGES, TARGET, folder_of, publish_all

from pipeline.__main__ import main
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.artifacts.lock import FolderLock
from pipeline.commands import clean
from pipeline.commands.clean import with_dependants
from pipeline.stages.results import Results


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish_all(Path("results"))
    return Path("results")


def present(results):
    return {key for key in STAGES if folder_of(results, key).path.exists()}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (RANK, {RANK}),
        (TARGET, {TARGET, RANK}),
        (MODEL, {MODEL, RANK}),
        (SOURCE, {SOURCE, MODEL, RANK}),
    ],
)
def test_a_stage_takes_along_what_was_made_from_it(results, key, expected):
    assert set(with_dependants([key], Results(results))) == expected
    assert main(["clean", key, "--yes"]) == 0
    assert present(results) == set(STAGES) - expected


def test_without_yes_it_only_lists(results, capsys):
    assert main(["clean", MODEL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"results/pretrain/{MODEL}",
        f"results/rank/{RANK}",
        "2 stages would be removed; add --yes to remove them",
    ]
    assert present(results) == set(STAGES)


def test_what_stays_is_untouched(results):
    before = folder_of(results, SOURCE).load()
    main(["clean", MODEL, "--yes"])
    assert folder_of(results, SOURCE).load() == before


def test_the_state_of_an_unfinished_stage_and_its_failure_go_too(results):
    folder = folder_of(results, RANK)
    (folder.path / "files.json").unlink()
    folder.state.mkdir()
    (folder.state / "part").write_text("half")
    (folder.run / "failed.json").write_text("{}")
    main(["clean", RANK, "--yes"])
    assert not folder.path.exists()


def test_an_unfinished_stage_goes_with_what_it_is_planned_to_read(results):
    (folder_of(results, RANK).path / "files.json").unlink()
    assert set(with_dependants([MODEL], Results(results))) == {MODEL, RANK}
    assert set(with_dependants([SOURCE], Results(results))) == {SOURCE, MODEL, RANK}


def test_a_finished_stage_is_known_by_its_manifest_whatever_version_planned_it(results):
    for path in (results / "stages").iterdir():
        path.write_text("{}")
    assert set(with_dependants([MODEL], Results(results))) == {MODEL, RANK}


def test_a_stage_whose_stage_file_is_gone_can_still_be_removed(results):
    (results / "stages" / f"{RANK}.json").unlink()
    assert main(["clean", RANK, "--yes"]) == 0
    assert present(results) == set(STAGES) - {RANK}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["rank-ffffffffffff"], "no stage rank-ffffffffffff under results"),
        (["../prepare"], "no stage ../prepare under results"),
        ([], "give keys, or --unneeded"),
        ([RANK, "--unneeded"], "give keys, or --unneeded"),
    ],
)
def test_what_cannot_be_meant_is_refused(results, capsys, words, complaint):
    assert main(["clean", *words, "--yes"]) == 2
    assert complaint in capsys.readouterr().err
    assert present(results) == set(STAGES)


def test_a_running_stage_keeps_its_folder(results, monkeypatch, capsys):
    now = [1_000_000.0]
    waiting = functools.partial(
        FolderLock, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    monkeypatch.setattr(clean, "FolderLock", waiting)
    with FolderLock(folder_of(results, RANK).path):
        assert main(["clean", RANK, "--yes"]) == 2
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert folder_of(results, RANK).is_whole()


def test_a_link_inside_an_artifact_is_removed_and_not_followed(results, tmp_path):
    precious = tmp_path / "data"
    precious.mkdir()
    (precious / "photo.jpg").write_text("photo")
    (folder_of(results, RANK).path / "link").symlink_to(precious)
    main(["clean", RANK, "--yes"])
    assert (precious / "photo.jpg").exists()
    assert not folder_of(results, RANK).path.exists()


def test_unneeded_is_what_no_experiment_plans(results, monkeypatch, capsys):
    class Planned:
        def all_stages(self):
            return [Stage(MODEL, {"source": Stage(SOURCE, {})})]

    class Stage:
        def __init__(self, key, parents):
            self.key, self.parents = key, parents

    monkeypatch.setattr(clean, "chosen_configuration", lambda arguments: None)
    monkeypatch.setattr(
        "pipeline.plan.planner.Planner", lambda config: type("P", (), {"plan": lambda self: [Planned()]})()
    )
    assert main(["clean", "--unneeded"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 stages would be removed")
    assert main(["clean", "--unneeded", "--yes"]) == 0
    assert present(results) == {SOURCE, MODEL}
    assert ArtifactFolder(results / "pretrain" / MODEL).is_whole()
