"""An experiment goes into one file and comes out elsewhere; whatever is wrong with the file is told before."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from tiny import digests, snakemake

from pipeline.__main__ import main
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.commands import import_
from pipeline.config.load import load_config
from pipeline.plan.planner import Planner
from pipeline.plan.table import plan_rows
from pipeline.report.importing import _Placing
from pipeline.report.publishing import run_file
from pipeline.stages.results import Results

METRICS = "results/experiments/tiny/seed0/metrics.json"


@pytest.fixture(scope="module")
def origin(tmp_path_factory, reference):
    """The reference run with its folder for people and its page."""
    folder = tmp_path_factory.mktemp("origin")
    shutil.copytree(reference, folder, dirs_exist_ok=True)
    for name in ("experiment-tiny-seed0", "report-tiny"):
        assert run_file(folder / f"results/stages/{name}.json", None) == 0
    return folder


@pytest.fixture(scope="module")
def archive(origin):
    """The archive of the experiment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(origin)
        assert main(["archive", "--experiment", "tiny"]) == 0
    return origin / "tiny.tar"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content_of(folder):
    """Every file with its bytes, every link with its target, by path; the lock of runs left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = str(path.readlink())
        elif path.is_file() and path.name != ".run-lock":
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def test_it_comes_out_as_it_went_in(origin, archive, elsewhere, capsys):
    assert main(["import", str(archive)]) == 0
    said = capsys.readouterr().out
    before, after = content_of(origin), content_of(elsewhere)
    assert after.items() - before.items() == {
        ("results/report/index.html", after["results/report/index.html"])
    }
    assert "results/report/tiny/index.html" in after and "results/experiments/tiny/seed0/6-intra" in after
    assert '<a href="tiny/index.html">tiny</a>' in Path("results/report/index.html").read_text()
    gone = {key for key in digests(origin) if key not in digests(elsewhere)}
    assert len(gone) == 3 and all(key.startswith("prepare-") and key in said for key in gone)
    assert all(link.exists() for link in Results().links())


def test_results_may_lie_on_several_disks(origin, archive, elsewhere, monkeypatch):
    rename, crossed = Path.rename, []

    def across(self, target):
        if ".import" in self.parts and "results/pretrain" in str(target):
            crossed.append(target.name)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    assert main(["import", str(archive)]) == 0
    after = content_of(elsewhere)
    after.pop("results/report/index.html")
    assert after.items() <= content_of(origin).items()
    assert crossed and {path.name for path in Path("results/pretrain").iterdir()} == set(crossed)


def test_only_the_images_are_to_prepare_again_and_nothing_asks_for_them(archive, elsewhere, capsys):
    main(["import", str(archive)])
    rows = plan_rows(Planner(load_config()).plan())
    assert {key.partition("-")[0] for state, _, key, _ in rows if state != "done"} == {"prepare"}
    assert sum(state == "done" for state, *_ in rows) > 10
    capsys.readouterr()
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.count("not here, no damage") == 3
    result = snakemake(elsewhere, "--dry-run")
    assert "Nothing to be done" in result.stdout + result.stderr


def test_a_second_import_changes_nothing(archive, elsewhere):
    main(["import", str(archive)])
    before = content_of(elsewhere)
    assert main(["import", str(archive)]) == 0
    assert content_of(elsewhere) == before


def test_other_software_is_told(archive, elsewhere, monkeypatch, capsys):
    main(["import", str(archive)])
    assert "made with" not in capsys.readouterr().out
    monkeypatch.setattr(import_, "versions", lambda: {"torch": "0.1"})
    main(["import", str(archive)])
    assert re.search(r"made with torch \S+, here is 0\.1", capsys.readouterr().out)


@pytest.mark.parametrize("moves", [0, 20, 27, -1])
def test_what_was_killed_is_ended_by_the_same_command(origin, archive, elsewhere, monkeypatch, moves):
    done = []
    move = _Placing._move

    def dying(self, name, to=None):
        if len(done) == moves or (moves == -1 and name == Path("results/report/tiny")):
            raise ZeroDivisionError
        done.append(name)
        move(self, name, to)

    monkeypatch.setattr(_Placing, "_move", dying)
    with pytest.raises(ZeroDivisionError):
        main(["import", str(archive)])
    for folder in Results().artifacts().values():
        assert ArtifactFolder(folder.path).audit() == []
    monkeypatch.setattr(_Placing, "_move", move)
    assert main(["import", str(archive)]) == 0
    after = content_of(elsewhere)
    after.pop("results/report/index.html")
    assert after.items() <= content_of(origin).items() and METRICS in after
    assert not Results().importing().exists()


def members_of(archive):
    with tarfile.open(archive) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]


def write(members):
    with tarfile.open("changed.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def changed(archive, change):
    """A copy of the archive after `change(table, members by name)`."""
    members = {member.name: (member, content) for member, content in members_of(archive)}
    table = json.loads(members["archive.json"][1])
    change(table, members)
    members["archive.json"] = (members["archive.json"][0], json.dumps(table).encode())
    write(members.values())


def add(name, kind=tarfile.REGTYPE, listed=True):
    def change(table, members):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        members[name] = (member, b"")
        if listed:
            table["files"][name] = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}

    return change


def alter(name, content, listed=False):
    def change(table, members):
        members[name] = (members[name][0], content)
        if listed:
            table["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    return change


def newer(table, members):
    table.update(format=2, unknown_key=1)


def flipped(table, members):
    member, content = members[METRICS]
    members[METRICS] = (member, bytes([content[0] ^ 1]) + content[1:])


def manifest_altered(table, members):
    name = next(name for name in members if name.endswith("/artifact.json"))
    values = json.loads(members[name][1])
    values["digest"] = "0" * 64
    alter(name, json.dumps(values).encode(), listed=True)(table, members)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (newer, "format 2: a newer version made it"),
        (add("../evil.txt"), "'../evil.txt' lies outside of config/ and results/"),
        (add("/tmp/evil.txt"), "lies outside"),
        (add("results/rank/../../evil.txt"), "lies outside"),
        (add("pipeline/evil.py"), "lies outside"),
        (add("results/.import/evil/x"), "lies outside"),
        (add("config/evil.py"), "is no configuration"),
        (add("results/rank/key/link", tarfile.SYMTYPE), "is no plain file"),
        (add("results/rank/key/link", tarfile.LNKTYPE), "is no plain file"),
        (add("results/rank/key/pipe", tarfile.FIFOTYPE), "is no plain file"),
        (add("results/rank/key/tty", tarfile.CHRTYPE), "is no plain file"),
        (add("results/rank/key/more", listed=False), "is there twice, or not in archive.json"),
        (lambda table, members: members.pop(METRICS), f"{METRICS} is missing"),
        (lambda table, members: table["files"].pop(METRICS), "not in archive.json"),
        (alter(METRICS, b"short"), f"{METRICS} is not what archive.json says: 5 bytes instead of"),
        (flipped, f"{METRICS} is not what archive.json says: another SHA-256"),
        (manifest_altered, "artifact.json was altered"),
        (lambda table, members: table.pop("suite"), "archive.json: suite: Field required"),
    ],
)
def test_a_bad_archive_is_refused_before_anything_is_put_in_place(
    archive, elsewhere, capsys, change, complaint
):
    changed(archive, change)
    before = content_of(elsewhere)
    assert main(["import", "changed.tar"]) == 2
    assert complaint in capsys.readouterr().err
    assert content_of(elsewhere) == before


def test_a_part_of_an_archive_is_refused(archive, elsewhere, capsys):
    data = archive.read_bytes()
    for size in (0, 100, 5000, len(data) // 2):
        Path("part.tar").write_bytes(data[:size])
        assert main(["import", "part.tar"]) == 2
        assert "part.tar: " in capsys.readouterr().err
    assert main(["import", "none.tar"]) == 2
    assert "none.tar: there is no such file" in capsys.readouterr().err
    assert not Path("config").exists()


def test_another_artifact_under_the_same_key_is_refused(origin, archive, elsewhere, capsys):
    path = next(path for path in origin.glob("results/split/*"))
    here = ArtifactFolder(elsewhere / "results/split" / path.name)
    here.path.mkdir(parents=True)
    assert main(["import", str(archive)]) == 2
    assert f"{path.name} is unfinished here" in capsys.readouterr().err
    (here.path / "split.csv").write_text("other")
    here.publish({"key": path.name, "parents": {}})
    before = content_of(elsewhere)
    assert main(["import", str(archive)]) == 2
    assert f"results/split/{path.name} has other content" in capsys.readouterr().err
    assert content_of(elsewhere) == before


def test_a_run_that_shows_other_results_is_refused(archive, elsewhere, capsys):
    path = elsewhere / METRICS
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert main(["import", str(archive)]) == 2
    assert f"{Path(METRICS).parent} shows other results" in capsys.readouterr().err


def test_what_is_written_here_stays_and_the_archive_has_its_place_beside(origin, archive, elsewhere, capsys):
    own = elsewhere / "config/networks/small.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("backbone: small\n")
    page = elsewhere / "results/report/tiny/index.html"
    shutil.copytree(origin / "results/report/tiny", page.parent)
    page.write_text("mine")
    assert main(["import", str(archive)]) == 0
    said = capsys.readouterr().out
    assert own.read_text() == "backbone: small\n" and page.read_text() == "mine"
    (beside,) = elsewhere.glob("config/archived/tiny-*/networks/small.yaml")
    assert str(beside.relative_to(elsewhere)) in said and "dilations" in beside.read_text()
    (other,) = elsewhere.glob("results/report/tiny-of-*/index.html")
    assert str(other.relative_to(elsewhere)) in said and "intra" in other.read_text()


def test_a_damaged_artifact_is_not_archived(origin, tmp_path, monkeypatch, capsys):
    shutil.copytree(origin, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    table = next(tmp_path.glob("results/split/*/split.csv"))
    table.write_text("altered")
    assert main(["archive", "--experiment", "tiny", "--out", "new.tar.gz"]) == 2
    assert "split.csv was altered" in capsys.readouterr().err
    assert not list(tmp_path.glob("*new.tar.gz"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--experiment", "tony"],
            "no such experiment in config/config.yaml + config/tiny.yaml; did you mean `tiny`?",
        ),
        (["--experiment", "tiny"], "no seed of it has finished"),
        (["--experiment", "tiny", "--out", "config/tiny.yaml"], "is there already"),
    ],
)
def test_what_cannot_be_archived_is_told(origin, elsewhere, capsys, words, complaint):
    shutil.copytree(origin / "config", elsewhere / "config")
    assert main(["archive", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_a_compressed_archive_is_the_same(origin, archive, monkeypatch, tmp_path):
    monkeypatch.chdir(origin)
    assert main(["archive", "--experiment", "tiny", "--out", str(tmp_path / "t.tar.gz")]) == 0
    assert (tmp_path / "t.tar.gz").stat().st_size < archive.stat().st_size
    monkeypatch.chdir(tmp_path)
    assert main(["import", "t.tar.gz"]) == 0
    assert digests(tmp_path).items() <= digests(origin).items()
