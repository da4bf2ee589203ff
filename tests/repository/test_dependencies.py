"""pyproject.toml, environment.yml, requirements.in and requirements.lock name the same packages."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PINNED = ("torch", "torchvision")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(lines) -> dict[str, Requirement]:
    return {canonical(Requirement(line).name): Requirement(line) for line in lines}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def declared(*extras: str) -> dict[str, Requirement]:
    """What pyproject.toml asks for, with these extras and those that they name."""
    found = requirements(project()["dependencies"])
    for extra in extras:
        found |= requirements(project()["optional-dependencies"][extra])
    own = found.pop(project()["name"], None)
    return {**found, **declared(*own.extras)} if own else found


def locked() -> dict[str, str]:
    """Versions by name in requirements.lock."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    found = [re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", line) for line in lines]
    return {canonical(match[1]): match[2] for match in found if match}


def environment() -> tuple[list[str], dict[str, Requirement]]:
    """Conda's own packages and the list for pip in environment.yml."""
    packages = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    (pip,) = [package["pip"] for package in packages if isinstance(package, dict)]
    return [package for package in packages if isinstance(package, str)], requirements(pip)


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.in").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_environment_names_the_projects_packages_and_the_cluster_plugin():
    assert set(environment()[1]) == set(declared("slurm"))


def test_the_environments_ranges_are_the_projects():
    """Except for the pinned builds, which the project only bounds."""
    _, pip = environment()
    for name, requirement in declared("slurm").items():
        if name not in PINNED:
            assert str(pip[name].specifier) == str(requirement.specifier), name


def test_python_is_the_same_everywhere():
    conda, _ = environment()
    wanted = project()["requires-python"]
    assert f"python{wanted}" in conda
    oldest = wanted.removeprefix(">=")
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'target-version = "py{oldest.replace(".", "")}"' in text
    assert f'python_version = "{oldest}"' in text
    assert f"--python-version {oldest}" in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("name", PINNED)
def test_pinned_builds_are_equal_in_every_file(name):
    version = pinned()[name]
    assert locked()[name] == version
    assert str(environment()[1][name].specifier) == f"=={version}"
    assert declared()[name].specifier.contains(version)


def test_only_these_builds_are_pinned_by_hand():
    assert set(pinned()) == set(PINNED)


def test_the_lock_holds_every_package_at_a_version_in_range():
    found = locked()
    for name, requirement in declared("slurm", "dev").items():
        assert name in found, f"{name}: run `make lock`"
        assert requirement.specifier.contains(found[name]), name


def test_every_line_of_the_lock_is_hashed():
    text = (ROOT / "requirements.lock").read_text("utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)
    packages = [block for block in blocks if re.match(r"[A-Za-z0-9._-]+(\[.*\])?==", block)]
    # Some packages stand there once per Python version.
    assert len(packages) >= len(locked()) > 50
    assert [block.splitlines()[0] for block in packages if "--hash=sha256:" not in block] == []


def test_what_the_code_imports_is_declared():
    known = {"yaml": "pyyaml", "PIL": "pillow"}
    modules = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    foreign = modules - set(sys.stdlib_module_names) - {"pipeline"}
    names = {canonical(known.get(module, module)) for module in foreign}
    # Versions of pydantic and pydantic-core, jinja2 and markupsafe belong together.
    assert names - {"pydantic-core", "markupsafe"} <= set(declared())
