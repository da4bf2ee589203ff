"""What is declared in one place is named in no other: methods below `methods`, paths below `results/` in one module."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.methods.parameters import OBJECTIVES
from pipeline.methods.registry import METHODS

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {model.__name__ for model in OBJECTIVES.values()} | {
    getattr(method, "__name__", "") for method in METHODS.values()
}
RECIPES_BY_NAME = ("commands/suggest.py",)
"""These advise people to use shipped recipes, some of which are called like their method."""
FOLDERS = ("stages", "experiments", "report")


def modules(*without: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        name = path.relative_to(ROOT / "pipeline").as_posix()
        if not name.startswith(without):
            yield name, ast.parse(path.read_text("utf-8"))


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the texts that document: those that stand alone."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def named_methods(tree: ast.AST) -> list[int]:
    """Lines with a method's name in a text, or with one of its classes."""
    documenting = docstrings(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documenting:
            if set(re.findall(r"\w+", node.value)) & OBJECTIVES.keys():
                found.append(node.lineno)
        elif isinstance(node, ast.Name | ast.alias | ast.Attribute):
            word = getattr(node, "id", None) or getattr(node, "name", None) or getattr(node, "attr", None)
            if word in CLASSES:
                found.append(node.lineno)
    return found


def joined_paths(tree: ast.AST) -> list[int]:
    """Lines that put a folder below `results/` into a path."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and isinstance(node.right, ast.Constant)
        and node.right.value in FOLDERS
    ]


CHECKS = {
    named_methods: (("methods/", "config/", *RECIPES_BY_NAME), 'if method == "plca": pass'),
    joined_paths: (("stages/results.py",), 'path = root / "stages" / key'),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_is_named_elsewhere(check):
    without, _ = CHECKS[check]
    assert [f"{name}:{line}" for name, tree in modules(*without) for line in check(tree)] == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_check_sees_it(check):
    assert check(ast.parse(CHECKS[check][1])) == [1]


def test_the_check_of_methods_sees_a_class_and_no_documentation():
    assert named_methods(ast.parse('"""Pixel association, plca."""\nPlcaParameters()')) == [2]
