"""A small finished model, and the settings that commands change in their process."""

import shutil

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


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """No initial weights are at hand and none can be fetched, unless a test says so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("SEGADAPT_DATA", raising=False)
