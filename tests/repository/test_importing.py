"""Modules only define things when they are imported."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_importing_reads_no_arguments_says_nothing_and_writes_nothing(tmp_path):
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / "pipeline").rglob("*.py"))]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    code = (
        f"import sys; sys.argv = ['x', '--nonsense']; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from importlib import import_module\nfor name in {names}: import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (("commands.run", "stages.prepare", "stages.split", "report.experiment"), {"torch", "torchvision"}),
        (("commands.run", "report.collect", "report.reports"), {"torch", "torchvision", "scipy"}),
        (("commands.run", "stages.train", "stages.rank", "stages.evaluate"), {"torchvision"}),
    ],
)
def test_a_job_imports_no_slow_library_that_it_does_without(modules, absent):
    names = [f"pipeline.{name}" for name in modules]
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from importlib import import_module\nfor name in {names}: import_module(name)\n"
        f"print({absent} & sys.modules.keys() or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("none\n", "")
