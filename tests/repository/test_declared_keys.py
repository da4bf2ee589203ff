"""Every key that a configuration may hold is read somewhere: none is accepted and then ignored."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]


def package() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        yield (
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"),
            ast.parse(path.read_text("utf-8")),
        )


def models() -> list[type[BaseModel]]:
    for name, tree in package():
        if any(isinstance(node, ast.ClassDef) for node in tree.body):
            import_module(name)
    waiting, found = [BaseModel], []
    while waiting:
        below = [one for one in waiting.pop().__subclasses__() if one.__module__.startswith("pipeline.")]
        waiting += below
        found += below
    return found


def read_attributes() -> set[str]:
    return {
        node.attr
        for _, tree in package()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_every_declared_key_is_read():
    read = read_attributes()
    declared = {(model.__name__, key) for model in models() for key in model.model_fields}
    assert ("PlcaParameters", "lsr_weight") in declared
    assert {one for one in declared if one[1] not in read} == set()
