"""What a wheel has: the package with the workflow, the config library and the profiles, which work from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
