"""`clean` lists and, asked to, removes a stage with what was made from it, or what nothing needs."""

import functools
import json
import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from small_results import MODEL, RANK, SOURCE, STAGES, TARGET, folder_of, publish, publish_all

from pipeline.__main__ import main
from pipeline.artifacts import owners
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.artifacts.lock import FolderLock
from pipeline.commands import clean, run_lock
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


@pytest.mark.parametrize("key", [RANK, MODEL], ids=["its own", "what it reads"])
def test_a_running_stage_keeps_its_folder_and_what_it_reads(results, monkeypatch, capsys, key):
    now = [1_000_000.0]
    waiting = functools.partial(
        FolderLock, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    monkeypatch.setattr(clean, "FolderLock", waiting)
    with FolderLock(folder_of(results, RANK).path):
        assert main(["clean", key, "--yes"]) == 2
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert folder_of(results, key).is_whole() and folder_of(results, RANK).is_whole()


@pytest.fixture
def run(results, run_holding):
    return run_holding(results / ".run-lock")


def test_a_run_is_waited_for_and_what_it_made_goes_too(results, run, monkeypatch, capsys):
    shutil.rmtree(folder_of(results, RANK).path)

    def sleep(seconds):
        assert present(results) == set(STAGES) - {RANK}, "nothing is removed while the run works"
        publish(results, RANK)
        run.stdin.close()
        run.wait(30)

    monkeypatch.setattr(run_lock, "time", Namespace(sleep=sleep))
    assert main(["clean", MODEL, "--yes"]) == 0
    assert present(results) == {SOURCE, TARGET}
    assert f"another run works here (process {run.pid}); waiting for it" in capsys.readouterr().out


def test_listing_waits_for_nobody(results, run, monkeypatch):
    monkeypatch.setattr(run_lock, "time", None)
    assert main(["clean", MODEL]) == 0


def test_a_mistake_is_told_without_waiting(results, run, monkeypatch):
    monkeypatch.setattr(run_lock, "time", None)
    assert main(["clean", "rank-ffffffffffff", "--yes"]) == 2


def test_a_snakemake_on_another_host_keeps_all(results, capsys):
    owners.LOCKS.mkdir(parents=True)
    (owners.LOCKS / "0.output.lock").touch()
    owners.NOTES.mkdir()
    elsewhere = {**vars(owners.Owner.this()), "machine": "elsewhere", "host": "login2"}
    (owners.NOTES / "1.json").write_text(json.dumps(elsewhere))
    assert main(["clean", MODEL, "--yes"]) == 2
    assert "on login2" in capsys.readouterr().err
    assert present(results) == set(STAGES)


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
