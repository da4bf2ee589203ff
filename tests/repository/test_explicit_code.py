"""What a library would choose is said in the code, and nothing in it waits for a person or a certain machine."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBUGGERS = {"breakpoint", "set_trace", "pdb", "ipdb", "pudb", "debugpy"}


def parsed(*rooms: str) -> Iterator[tuple[str, ast.AST]]:
    for room in rooms or ("",):
        for path in sorted((ROOT / "pipeline" / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def unclear_resizes(tree: ast.AST) -> list[int]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node) in ("interpolate", "Upsample"):
            given = {word.arg: word.value for word in node.keywords}
            mode = given.get("mode")
            without_corners = isinstance(mode, ast.Constant) and mode.value in (
                "nearest",
                "nearest-exact",
                "area",
            )
            if not without_corners and "align_corners" not in given:
                found.append(node.lineno)
    return found


def unclear_axes(tree: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and name_of(node) in ("softmax", "log_softmax", "Softmax", "LogSoftmax", "Softmax2d")
        and "dim" not in {word.arg for word in node.keywords}
    ]


def named_devices(tree: ast.AST) -> list[int]:
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and str(n.value).startswith("cuda")]
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and name_of(n) == "cuda"]
    return [node.lineno for node in (*texts, *calls)]


def debugger_calls(tree: ast.AST) -> list[int]:
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.Call):
            names = [name_of(node)]
        if DEBUGGERS & set(names):
            found.append(node.lineno)
    return found


CHECKS = {
    unclear_resizes: ("F.interpolate(x, (3, 4), mode='bilinear')", ()),
    unclear_axes: ("functional.softmax(x)", ()),
    named_devices: ("torch.ones(3).cuda()", ("numerics", "methods", "networks", "data")),
    debugger_calls: ("import pdb", ()),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_code_has_none(check):
    _, rooms = CHECKS[check]
    found = [f"{path}:{line}" for path, tree in parsed(*rooms) for line in check(tree)]
    assert found == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_check_sees_one(check):
    assert check(ast.parse(CHECKS[check][0])) == [1]
