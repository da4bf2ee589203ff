"""`verify` names everything that is damaged, missing or orphaned, and nothing else."""

import shutil
from pathlib import Path

import pytest
from small_results import MODEL, RANK, SOURCE, STAGES, TARGET, folder_of, publish, publish_all

from pipeline.__main__ import main
from pipeline.commands.verify import findings
from pipeline.stages.results import Results


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish_all(Path("results"))
    return Path("results")


def test_whole_results_have_no_findings(results, capsys):
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == "every artifact is whole\n"


def test_without_results_there_is_nothing_to_find(tmp_path):
    assert findings(Results(tmp_path / "results"), []) == []


def flip(path):
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (flip, "table.csv was altered: its SHA-256 is not that of files.json"),
        (Path.unlink, "table.csv is missing"),
        (lambda path: path.write_text("short"), "table.csv was altered: 5 bytes instead of"),
    ],
)
def test_a_damaged_file_is_named(results, capsys, harm, complaint):
    harm(folder_of(results, RANK).path / "table.csv")
    (line,) = findings(Results(results), [])
    assert line.startswith(f"results/rank/{RANK}: {complaint}")
    assert main(["verify"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 problems"


def test_damage_that_keeps_size_time_and_inode_is_seen_too(results, monkeypatch):
    """`load` trusts what it remembers of large files; `verify` reads every byte again."""
    from pipeline.artifacts import folder as folder_module

    monkeypatch.setattr(folder_module, "REMEMBERED_FROM", 1)
    folder = folder_of(results, RANK)
    folder.load()
    path = folder.path / "table.csv"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.write(b"X")
    import os

    os.utime(path, ns=times)
    assert folder.problems() == []
    (line,) = findings(Results(results), [])
    assert "table.csv was altered" in line


def test_a_damaged_list_of_files_is_named(results):
    flip(folder_of(results, SOURCE).path / "files.json")
    lines = findings(Results(results), [SOURCE])
    assert len(lines) == 1
    assert "files.json is damaged" in lines[0]


def test_a_missing_parent_is_named(results):
    shutil.rmtree(folder_of(results, TARGET).path)
    assert findings(Results(results), []) == [f"results/rank/{RANK}: parent images ({TARGET}) is missing"]


def test_a_parent_made_anew_with_other_content_is_named_with_both_digests(results):
    before = folder_of(results, TARGET).load()["digest"]
    after = publish(results, TARGET, "other")["digest"]
    (line,) = findings(Results(results), [])
    assert line.startswith(f"results/rank/{RANK}: parent images ({TARGET}) was made anew with other content")
    assert f"({after[:12]} instead of {before[:12]})" in line


def test_a_parent_made_anew_with_the_same_content_is_fine(results):
    shutil.rmtree(folder_of(results, TARGET).path)
    publish(results, TARGET)
    assert findings(Results(results), []) == []


def test_an_unfinished_stage_is_no_damage_but_told(results):
    folder = folder_of(results, RANK)
    (folder.path / "files.json").unlink()
    (line,) = findings(Results(results), [])
    assert (
        line
        == f"results/rank/{RANK}: unfinished; run it again to go on, or `python -m pipeline clean {RANK}`"
    )


def test_an_artifact_that_nothing_planned_here_is_orphaned(results):
    (results / "stages" / f"{RANK}.json").unlink()
    (line,) = findings(Results(results), [])
    assert line.startswith(f"results/rank/{RANK}: orphaned")


def test_a_broken_link_is_named(results):
    link = results / "experiments" / "demo" / "seed0" / "2-inter"
    link.symlink_to("../../../adapt/gone")
    assert findings(Results(results), []) == [f"{link}: broken link"]


def test_only_the_keys_asked_for_are_looked_at(results, capsys):
    flip(folder_of(results, RANK).path / "table.csv")
    assert main(["verify", MODEL, SOURCE]) == 0
    assert main(["verify", RANK]) == 1
    assert main(["verify", "rank-ffffffffffff"]) == 2
    assert "no stage rank-ffffffffffff under results" in capsys.readouterr().err


def test_every_stage_folder_is_found_and_nothing_else(results):
    (results / "README.md").write_text("what this is")
    assert set(Results(results).artifacts()) == set(STAGES)
