"""A small finished model, and the settings that commands change in their process."""

import contextlib
import shutil
import subprocess
import sys

import pytest
import strangers
from process_settings import process_settings  # noqa: F401 - a fixture

from pipeline.datasets.taxonomy import Taxonomy
from pipeline.networks.build import build_network
from pipeline.networks.files import save_network
from pipeline.networks.parameters import NetworkParameters

THREE = Taxonomy.model_validate(
    {
        "name": "three",
        "classes": [
            {"name": "road", "color": [128, 64, 128]},
            {"name": "house", "color": [70, 70, 70]},
            {"name": "tree", "color": [0, 142, 0]},
        ],
    }
)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model folder as an experiment leaves it: `small`, three classes, working size 40x32."""
    folder = tmp_path_factory.mktemp("small") / "model"
    folder.mkdir()
    meta = {"taxonomy": THREE.model_dump(mode="json"), "stage": "adapt-x-0123", "step": 5}
    network = build_network(NetworkParameters(backbone="small", dilations=(1, 3), skip=True), 3, 0)
    save_network(folder / "model.safetensors", network, {**meta, "sizes": {"target": [40, 32]}})
    return folder


@pytest.fixture
def model(tmp_path, small_model):
    """A copy of the small model that a test may change."""
    return shutil.copytree(small_model, tmp_path / "model")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The working directory of a fresh clone: the shipped recipes and networks."""
    strangers.make_clone(tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path / "clone"


@pytest.fixture
def nothing_written(clone):
    """Afterwards there is still no suite `mine`."""
    yield
    assert not (clone / "config/mine.yaml").exists()


HOLDER = """
import fcntl, os, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write(f"{os.getpid()}\\n")
file.flush()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def run_holding():
    """Starts a process that holds a run lock, as `start` does, until its stdin is closed or gets a line."""
    with contextlib.ExitStack() as started:

        def hold(path):
            words = [sys.executable, "-c", HOLDER, str(path)]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.callback(process.wait, 30)
            started.callback(process.stdin.close)
            assert process.stdout.readline() == "held\n"
            return process

        yield hold


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """No initial weights are at hand and none can be fetched, unless a test says so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("SEGADAPT_DATA", raising=False)
