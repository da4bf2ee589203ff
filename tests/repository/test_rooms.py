"""Imports of `pipeline` point downwards only, and what plans or describes is free of torch."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    ("__main__", "commands"),
    ("onboarding",),
    ("report",),
    ("plan",),
    ("config",),
    ("stages",),
    ("training",),
    ("inference",),
    ("methods",),
    ("networks",),
    ("datasets",),
    ("data",),
    ("streets",),
    ("numerics",),
    ("schema",),
    ("artifacts",),
)
"""From the top down; a module may import from its own line and from those below."""

LEVEL = {room: len(ROOMS) - place for place, rooms in enumerate(ROOMS) for room in rooms}

TORCH = {"torch", "torchvision", "safetensors"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__main__"


def imported(name: str, top_only: bool = False) -> Iterator[str]:
    """The modules that a module imports, at its top or anywhere; `import_module` with a plain text too."""
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (one if one in MODULES else str(node.module) for one in whole)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield str(first.value)


def upward() -> list[str]:
    lines = []
    for name in MODULES:
        for other in imported(name):
            if other.split(".")[0] != "pipeline" or name == "pipeline":
                continue  # the package itself offers `load_model`, imported when asked for
            if LEVEL[room_of(other)] > LEVEL[room_of(name)]:
                lines.append(f"{name} imports {other}")
    return lines


def test_every_folder_is_a_room():
    folders = {path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders | {"__main__"} == set(LEVEL)


def test_the_documented_rooms_are_these_in_this_order():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [rooms[-1] for rooms in ROOMS]


def test_imports_point_downwards():
    assert upward() == []


def test_the_check_sees_an_import_upwards(monkeypatch):
    monkeypatch.setitem(LEVEL, "artifacts", 99)
    assert any("pipeline.data" in line and "artifacts" in line for line in upward())


def test_no_circles():
    graph = {name: {other for other in imported(name, top_only=True) if other in MODULES} for name in MODULES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_artifacts_use_the_standard_library_only():
    import sys

    for name in MODULES:
        if room_of(name) == "artifacts":
            foreign = {
                other.split(".")[0]
                for other in imported(name)
                if other.split(".")[0] not in sys.stdlib_module_names
                and not other.startswith("pipeline.artifacts")
            }
            assert not foreign, f"{name}: {foreign}"


def reached(name: str) -> set[str]:
    """Everything imported when a module is: its own imports at the top, packages on the way, and theirs."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in MODULES:
            waiting += imported(current, top_only=True)
            parts = current.split(".")
            waiting += [".".join(parts[:length]) for length in range(1, len(parts))]
    return seen


TORCH_FREE = [
    name
    for name in MODULES
    if room_of(name) in ("plan", "config", "onboarding", "artifacts", "commands", "__main__")
    or name.endswith(".parameters")
    or name in ("pipeline.datasets.listing", "pipeline.datasets.taxonomy")
    or name in [f"pipeline.stages.{one}" for one in ("kinds", "requirements", "record", "results")]
    or MODULES[name].name == "__init__.py"
]


@pytest.mark.parametrize("name", TORCH_FREE)
def test_planning_and_parameters_are_free_of_torch(name):
    assert {other.split(".")[0] for other in reached(name)} & TORCH == set()


def test_the_check_of_torch_sees_it():
    assert "torch" in {other.split(".")[0] for other in reached("pipeline.stages.train")}


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_package_inits_import_nothing(name):
    assert {other for other in imported(name, top_only=True) if other != "typing"} == set()


def test_every_module_opens_with_a_docstring():
    bare = [
        name for name, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert bare == []


def test_every_verb_has_its_module():
    from pipeline.commands.verbs import VERBS, module_of

    for verb in VERBS:
        assert importlib.util.find_spec(module_of(verb)) is not None, verb
