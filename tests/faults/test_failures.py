"""What goes wrong inside a stage or between two: a clear message, nothing half-written, the way on."""

import functools
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from world import World, digests, plan, write_configuration

from pipeline.__main__ import main
from pipeline.artifacts.files import read_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.commands.verify import findings
from pipeline.data.loading import StepDataset, step_loader
from pipeline.report.publishing import run_file
from pipeline.stages import train
from pipeline.stages.results import Results
from pipeline.training import step as step_module
from pipeline.training.step import StepRunner

FAILED = 1


def in_worker_once(monkeypatch, folder, step, action):
    """Do `action` in the loader's process that loads `step`, the first time it does."""
    done = folder / "done"
    original = StepDataset.__getitem__

    def load(dataset, wanted):
        if wanted == step and multiprocessing.parent_process() is not None and not done.exists():
            done.touch()
            action()
        return original(dataset, wanted)

    monkeypatch.setattr(StepDataset, "__getitem__", load)


def hang():
    signal.pause()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("action", [die, hang])
def test_a_lost_loader_process_ends_the_stage_clearly_and_the_next_run_goes_on(
    world, finished_world, monkeypatch, tmp_path, action
):
    world.forget("source")
    world.settings("source", workers=1, state_steps=2)
    in_worker_once(monkeypatch, tmp_path, 5, action)
    if action is hang:
        monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
        monkeypatch.setattr(train, "step_loader", functools.partial(step_loader, stall=3.0))
    assert world.run("source") == FAILED
    log = world.log("source").read_text()
    assert "a loader process was lost" in log
    assert "unexpected error" not in log
    assert multiprocessing.active_children() == []
    assert not (world.artifact("source").run / "failed.json").exists(), "it may well pass next time"
    assert world.states("source") != []
    assert world.run("source") == 0
    assert "resumed at step" in world.log("source").read_text()
    assert digests(world.results) == digests(finished_world.results)


def damage(path, how):
    if how == "deleted":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["deleted", "altered"])
def test_pseudo_labels_harmed_after_their_stage_ended(world, finished_world, monkeypatch, capsys, how):
    world.forget("intra")
    labels = world.artifact("labels").path / "labels-00000.bin"
    damage(labels, how)
    monkeypatch.chdir(world.folder)
    assert world.run("intra") == FAILED
    log = world.log("intra").read_text()
    complaint = "labels-00000.bin " + {"deleted": "is missing", "altered": "was altered"}[how]
    assert complaint in log and f"python -m pipeline clean {world.key('labels')}" in log
    assert not (world.artifact("intra").run / "failed.json").exists(), "the parent may be fixed by then"
    found = findings(Results(world.results), [])
    assert any(world.key("labels") in line and complaint in line for line in found)

    assert main(["clean", world.key("labels"), "--yes"]) == 0
    listed = capsys.readouterr().out
    gone = {world.key(name) for name in ("labels", "intra", "evaluate-intra", "select-intra")}
    assert {key for key in world.keys if not world.artifact(key).path.exists()} == gone
    assert all(key in listed for key in gone)
    world.run_all()
    assert digests(world.results) == digests(finished_world.results)


def spoil_weights(monkeypatch):
    original = train.build_start

    def build(run):
        network = original(run)
        next(iter(network.parameters())).data.view(-1)[0] = float("nan")
        return network

    monkeypatch.setattr(train, "build_start", build)


def spoil_input(monkeypatch):
    original = step_module.normalise

    def normalise(images, profile):
        pixels = original(images, profile)
        pixels[0, 0, 0, 0] = float("nan")
        return pixels

    monkeypatch.setattr(step_module, "normalise", normalise)


def spoil_gradient(monkeypatch):
    original = StepRunner.run

    def run(runner, *args, **kwargs):
        outcome = original(runner, *args, **kwargs)
        runner.trained["network"][0].grad[0] = float("inf")
        return outcome

    monkeypatch.setattr(StepRunner, "run", run)


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_input, spoil_gradient])
def test_a_number_that_is_not_finite_fails_once_and_for_all_until_clean(
    world, finished_world, monkeypatch, spoil
):
    world.forget("intra")
    with monkeypatch.context() as patches:
        spoil(patches)
        assert world.run("intra") == FAILED
    folder = world.artifact("intra")
    message = read_json(folder.run / "failed.json")["message"]
    assert "not finite" in message and "step 1" in message
    assert not list(folder.path.glob("snapshots/*")) and world.states("intra") == []

    monkeypatch.setattr(train, "compute", lambda run: pytest.fail("the stage ran again"))
    for _ in range(2):
        world.log("intra").unlink()
        assert world.run("intra") == FAILED
        log = world.log("intra").read_text()
        assert message in log and f"clean {world.key('intra')}" in log
        assert log.count("failed before") == 1
    assert read_json(folder.run / "failed.json")["message"] == message
    monkeypatch.undo()

    monkeypatch.chdir(world.folder)
    assert main(["clean", world.key("intra"), "--yes"]) == 0
    assert world.run("intra") == 0
    assert world.artifact("intra").load() == finished_world.artifact("intra").load()


def test_a_failure_is_tried_again_when_its_cause_has_changed(world, monkeypatch):
    world.forget("intra")
    with monkeypatch.context() as patches:
        spoil_weights(patches)
        assert world.run("intra") == FAILED
    world.settings("intra", log_every=5)
    monkeypatch.setattr(train, "compute", lambda run: {})
    assert world.run("intra") == 0
    assert not (world.artifact("intra").run / "failed.json").exists()


def test_an_edited_configuration_harms_no_waiting_stage(world, finished_world):
    world.forget("intra")
    plan(world.folder)
    before = {path.name: path.read_bytes() for path in (world.results / "stages").iterdir()}
    suite = world.folder / "config" / "faults.yaml"
    suite.write_text(suite.read_text().replace("steps: 8", "steps: 20"))
    plan(world.folder)  # the same command, given again while jobs of the first one wait
    after = {path.name: path.read_bytes() for path in (world.results / "stages").iterdir()}
    assert len(after) > len(before)
    keyed = {name for name in before if not name.startswith(("experiment-", "report"))}
    assert {name: after[name] for name in keyed} == {name: before[name] for name in keyed}
    shutil.rmtree(world.folder / "config")  # jobs never read it
    assert world.run("intra") == 0
    assert digests(world.results) == digests(finished_world.results)


def test_a_full_disk_when_publishing_leaves_nothing_half_made(world, finished_world, monkeypatch):
    world.forget("source")
    folder = world.artifact("source")
    publish = ArtifactFolder.publish
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def publish_on_a_full_disk(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            return publish(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as patches:
        patches.setattr(ArtifactFolder, "publish", publish_on_a_full_disk)
        assert world.run("source") == FAILED
    log = world.log("source").read_text()
    assert "cannot write" in log and "files.json" in log and "unexpected" not in log
    assert not (folder.path / "artifact.json").exists() and not (folder.path / "files.json").exists()
    assert world.states("source")[-1] == "step-00000008"
    assert not (folder.run / "failed.json").exists()

    monkeypatch.setattr(StepRunner, "run", lambda *args: pytest.fail("a step was computed again"))
    assert world.run("source") == 0
    assert digests(world.results) == digests(finished_world.results)


@pytest.fixture
def read_only():
    """Makes a folder unwritable for this process, root or not; all is undone at the end."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    user = os.geteuid()

    def seal(folder):
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)

    yield base, seal
    os.seteuid(user)
    for path in base.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(base)


def test_a_folder_that_cannot_be_written_is_named(world, read_only, capsys):
    base, seal = read_only
    other = world.copy(base / "world")
    other.folder.chmod(0o755)
    other.forget("split")
    seal(other.results / "split")
    assert run_file(other.stage_file("split"), None) == FAILED
    complaint = capsys.readouterr().err
    assert f"cannot write {other.artifact('split').run}" in complaint
    assert "writing there is not permitted" in complaint


def test_a_kill_between_publishing_and_noting_it_harms_no_report(world):
    """The stage is finished, its `history.json` never was: nothing that follows may depend on it."""
    (world.artifact("intra").run / "history.json").unlink()
    assert world.run("intra") == 0
    experiment = next((world.results / "stages").glob("experiment-*.json"))
    for name in (experiment.stem, "report-faults", "reports"):
        assert world.run(name) == 0, world.log(name).read_text()
    assert (world.results / "report" / "faults" / "index.html").is_file()


TASK = """
taxonomy: camvid11
source: {dataset: pictures, split: train}
target: {dataset: few-camera, split: train}
"""
PICTURES = """
root: ROOT
splits:
  train: {images: "images/*.png", labels: "labels/*.png"}
ids: {sky: 0, road: 3, ignore: [255]}
"""


@pytest.fixture
def pictures(tmp_path):
    """A world whose source are two pictures with labels; nothing of it has run."""
    write_configuration(tmp_path)
    (tmp_path / "config" / "datasets" / "pictures.yaml").write_text(PICTURES.replace("ROOT", str(tmp_path)))
    (tmp_path / "config" / "tasks" / "few-streets.yaml").write_text(TASK)
    for name in ("a", "b"):
        for folder, mode in (("images", "RGB"), ("labels", "L")):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new(mode, (48, 32), 3 if mode == "L" else (9, 9, 9)).save(tmp_path / folder / f"{name}.png")
    return World.planned(tmp_path)


def test_a_broken_picture_fails_once_and_for_all_until_it_is_mended(pictures, monkeypatch):
    name = next(key for key in pictures.keys if key.startswith("prepare-pictures"))
    picture = pictures.folder / "images" / "b.png"
    sound = picture.read_bytes()
    picture.write_bytes(sound[:40])
    os.utime(picture, ns=(1, 1))
    assert pictures.run(name) == FAILED
    message = read_json(pictures.artifact(name).run / "failed.json")["message"]
    assert str(picture) in message

    with monkeypatch.context() as patches:
        patches.setattr("pipeline.stages.prepare.compute", lambda run: pytest.fail("the stage ran again"))
        assert pictures.run(name) == FAILED
    assert pictures.log(name).read_text().count(message) == 2
    picture.write_bytes(sound)
    assert pictures.run(name) == 0
    assert not (pictures.artifact(name).run / "failed.json").exists()
