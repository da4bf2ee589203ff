"""What messages show of the command line is what its person typed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.artifacts.program import MODULE, PROGRAM, program

PACKAGE = Path(__file__).resolve().parents[2] / "pipeline"
COMMAND = Path(sys.executable).with_name("segadapt")


@pytest.mark.parametrize(
    "words, name", [([sys.executable, "-m", "pipeline"], MODULE), ([COMMAND], "segadapt")]
)
def test_a_hint_names_the_program_as_it_was_called(tmp_path, monkeypatch, words, name):
    monkeypatch.delenv(PROGRAM, raising=False)
    ended = subprocess.run([*words, "clean"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stderr == f"error: clean: give keys, or --unneeded; `{name} plan` lists the keys\n"


def test_a_stage_names_what_the_person_of_its_run_typed(monkeypatch):
    monkeypatch.delenv(PROGRAM, raising=False)
    assert program() == MODULE
    monkeypatch.setenv(PROGRAM, "segadapt")
    assert program() == "segadapt"


def texts(path: Path) -> list[str]:
    """What a file of the package could show: of a module its texts without docstrings."""
    if path.suffix != ".py":
        return [path.read_text("utf-8")]
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    plain = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in plain if id(node) not in docstrings]


def test_no_message_names_the_program_by_itself():
    kinds = (".py", ".html", ".js", ".css")
    files = [path for path in PACKAGE.rglob("*") if path.suffix in kinds and "_shipped" not in path.parts]
    named = [path.relative_to(PACKAGE).as_posix() for path in files if MODULE in "".join(texts(path))]
    assert named == ["artifacts/program.py"]
