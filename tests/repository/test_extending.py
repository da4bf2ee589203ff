"""Every example of `docs/extending.md`, applied to a copy of the project, works as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
EXAMPLES = {part.splitlines()[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
TINY = {
    "train": {"steps": 2, "batch": 2, "snapshots": 1},
    "evaluate": {"snapshots": "last"},
}
STREETS = {
    "taxonomy": "camvid11",
    "source": {"dataset": "streets-rendered", "split": "train"},
    "target": {"dataset": "streets-camera", "split": "train"},
}


def blocks(example: str) -> list[tuple[str, str, str, str]]:
    """The file, the way (`new`, `after`, `replace`), the line and the text of each block of an example."""
    found = []
    for text in re.findall(r"^```\w*\n(.*?)^```$", EXAMPLES[example], flags=re.MULTILINE | re.DOTALL):
        lines = text.split("\n")
        match = re.fullmatch(r"# (after|replace): ?(.*)", lines[1])
        way, line, skipped = (match[1], match[2], 2) if match else ("new", "", 1)
        found.append((lines[0].removeprefix("# "), way, line, "\n".join(lines[skipped:]).removesuffix("\n")))
    return found


def apply(example: str, root: Path) -> tuple[set[str], set[str]]:
    """Apply an example to a copy of the project; returns the files that are new and those that changed."""
    new, changed = set(), set()
    for name, way, line, text in blocks(example):
        path = root / name
        if way == "new":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
            new.add(name)
            continue
        lines = path.read_text("utf-8").split("\n")
        assert line in lines, f"{name} has no line {line!r}"
        place = lines.index(line)
        lines[place : place + 1] = [text] if way == "replace" else [line, text]
        path.write_text("\n".join(lines), encoding="utf-8")
        changed.add(name)
    return new, changed


@pytest.fixture
def copy(tmp_path):
    """A copy of the project with tiny street scenes and a task on them."""
    for name in ("pipeline", "config", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, count in (("rendered", 4), ("camera", 4)):
        path = tmp_path / f"config/datasets/streets-{name}.yaml"
        text = re.sub(r"count: \d+", f"count: {count}", path.read_text("utf-8"))
        path.write_text(text.replace("format: streets", "format: streets\nsize: [48, 32]"), encoding="utf-8")
    (tmp_path / "config/tasks/tiny.yaml").write_text(json.dumps(STREETS), encoding="utf-8")
    return tmp_path


def run_in(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the copy."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )


def run(root: Path, suite: dict) -> dict[str, dict]:
    """Plan a suite of one experiment and run its stages in order; returns the manifests by kind."""
    (root / "config/page.yaml").write_text(json.dumps(suite), encoding="utf-8")
    code = """
import json
from pathlib import Path
from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file
from pipeline.stages.results import Results
config = load_config(["config/page.yaml"], {"run.device": "cpu", "run.threads": 1, "run.workers": 0})
runs = Planner(config).plan()
write_stage_files(config, runs)
found = {}
for stage in in_order(stage for one in runs for stage in one.all_stages()):
    assert run_file(Results().planned(stage.key), None) == 0, stage.key
    found.setdefault(stage.kind, []).append(Results().folder(stage.record).load()["summary"])
print(json.dumps(found))
"""
    done = run_in(root, "-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def experiment(**more) -> dict:
    """A suite of one tiny experiment."""
    return {"experiments": {"page": {"task": "tiny", "network": "small", "set": TINY} | more}}


def test_a_method_changes_two_files_and_trains(copy):
    new, changed = apply("A method", copy)
    assert new == {
        "pipeline/methods/sharpen.py",
        "config/recipes/sharpen.yaml",
        "tests/methods/test_sharpen.py",
    }
    assert changed == {"pipeline/methods/parameters.py", "pipeline/methods/registry.py"}
    found = run(copy, experiment(recipe="sharpen"))
    assert [summary["steps"] for summary in found["train"]] == [2, 2]
    (table,) = copy.glob("results/adapt/sharpen-*/metrics.csv")
    assert "sharpen" in table.read_text().splitlines()[0].split(",")
    shutil.copy(ROOT / "tests/toys.py", copy / "tests/toys.py")
    shutil.copy(ROOT / "tests/methods/conftest.py", copy / "tests/methods/conftest.py")
    tested = run_in(copy, "-m", "pytest", "-q", "tests/methods/test_sharpen.py")
    assert "1 passed" in tested.stdout, tested.stdout + tested.stderr


def test_a_backbone_trains(copy):
    apply("A backbone", copy)
    found = run(copy, experiment(recipe="source-only", network="tiny"))
    assert [summary["steps"] for summary in found["train"]] == [2]


def test_a_stage_kind_runs(copy):
    apply("A stage kind", copy)
    found = run(copy, experiment(recipe="histogram"))
    assert found["histogram"] == [{"images": 4}]
    (done,) = copy.glob("results/histogram/*/artifact.json")
    done.unlink()
    dry = run_in(
        copy,
        "-m",
        "snakemake",
        "--snakefile",
        "workflow/Snakefile",
        "-n",
        "--configfile",
        "config/page.yaml",
        "--quiet",
        "rules",
    )
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert re.search(r"^histogram +1$", dry.stdout + dry.stderr, re.MULTILINE), dry.stdout + dry.stderr


def test_a_dataset_format_is_prepared(copy):
    apply("A dataset format", copy)
    task = {
        "taxonomy": "binary-polyp",
        "source": {"dataset": "squares", "split": "train"},
        "target": {"dataset": "squares", "split": "val"},
        "metric": "dice",
    }
    (copy / "config/tasks/tiny.yaml").write_text(json.dumps(task), encoding="utf-8")
    found = run(copy, experiment(recipe="minent"))
    assert sorted(summary["images"] for summary in found["prepare"]) == [4, 6]
