"""What a wheel has: the package with the workflow, the config library and the profiles, which work from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("config", "profiles", "workflow")
FILES = ("Snakefile", "environment.yml")
BUILT_FROM = (*FOLDERS, *FILES, "pipeline", "pyproject.toml", "README.md", "LICENSE", "benchmarks")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A wheel built from a copy of the repository, as it lies in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns("__pycache__")
    (folder / "copy").mkdir()
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        more = {"symlinks": True, "ignore": left_out} if (ROOT / name).is_dir() else {}
        copy(ROOT / name, folder / "copy" / name, **more)
    words = ["wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    built = subprocess.run(command, cwd=folder / "copy", capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site-packages")
    shutil.rmtree(folder / "copy")
    return folder / "site-packages"


def segadapt(site, folder, *words):
    """Run a verb of what is installed in `site` in a folder."""
    command = [sys.executable, "-m", "pipeline", *words]
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_workflow_configuration_and_profiles_come_with_the_package(installed):
    for name in FOLDERS:
        of_clone = {path: data for path, data in files_below(ROOT / name).items() if path.suffix != ".pyc"}
        assert files_below(installed / "pipeline/_shipped" / name) == of_clone, name
    for name in FILES:
        assert (installed / "pipeline/_shipped" / name).read_bytes() == (ROOT / name).read_bytes()
    assert not list(installed.glob("tests*")) and not list(installed.glob("config*"))


def test_pages_templates_come_with_the_package(installed):
    templates = ROOT / "pipeline/report/templates"
    assert files_below(installed / "pipeline/report/templates") == files_below(templates)


def test_an_empty_folder_plans_the_demo(installed, tmp_path):
    done = segadapt(installed, tmp_path, "plan")
    assert done.returncode == 0 and "demo/seed0:evaluate" in done.stdout, done.stderr
    wrong = segadapt(installed, tmp_path, "plan", "--config", "set.train.stepz=3")
    assert wrong.returncode == 2 and str(installed / "pipeline/_shipped/config/demo.yaml") in wrong.stderr


def toy_folders(folder):
    """A simulator's images with labels of two ids, and a camera's images."""
    noise = np.random.default_rng(0)
    for number in range(4):
        for name, shape in (("sim/rgb", (48, 64, 3)), ("camera", (48, 64, 3)), ("sim/ids", (48, 64))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            high = 256 if len(shape) == 3 else 2
            picture = noise.integers(0, high, shape).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{number}.png")


@pytest.mark.slow
def test_two_folders_become_a_page_in_a_folder_without_a_clone(installed, tmp_path):
    toy_folders(tmp_path / "data")
    project = tmp_path / "project"
    project.mkdir()
    shipped = files_below(installed)
    sides = {"source-images": "sim/rgb", "source-labels": "sim/ids", "target-images": "camera"}
    words = [word for side, name in sides.items() for word in (f"--{side}", f"../data/{name}")]
    network = ("--network", "small", "--steps", "3")
    made = segadapt(installed, project, "init", "--name", "drive", *words, *network)
    assert made.returncode == 0, made.stderr
    assert {path.name for path in project.iterdir()} == {"Snakefile", ".gitignore", "config", "profiles"}
    done = segadapt(installed, project, "start", "--only", "drive", "--cores", "2", "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<svg" in (project / "results/report/drive/index.html").read_text(encoding="utf-8")
    again = snakemake(installed, project, "--dry-run", "--config", "only=drive")
    assert "Nothing to be done" in again.stdout + again.stderr, again.stderr
    assert files_below(installed) == shipped, "nothing is written beside the package"


def snakemake(site, folder, *words):
    """Run Snakemake itself in a project."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
