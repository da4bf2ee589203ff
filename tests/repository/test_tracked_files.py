"""What is checked in: no path of somebody's machine, no pickles, no large files; README commands exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (
    ".py",
    ".smk",
    ".yaml",
    ".yml",
    ".md",
    ".toml",
    ".cff",
    ".in",
    ".txt",
    ".json",
    ".html",
    ".css",
    ".js",
    "",
)
MACHINE_PATHS = re.compile(
    r"(?<![\w$.}<-])/(?:home|Users|work|root|mnt|media|scratch|gpfs|lustre|nfs|data\d*)/[\w.-]+|[A-Z]:\\\\?Users"
)
LARGE = 1_000_000


def checked_in() -> list[Path]:
    """Files under version control, or all but the ignored where there is none."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git repository")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    own = Path(__file__).resolve()
    return [
        (path, path.read_text("utf-8"))
        for path in checked_in()
        if path.suffix in TEXT and path.resolve() != own
    ]


def test_no_file_names_a_machines_path():
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in texts()
        for match in MACHINE_PATHS.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize("text", ["root: /home/jane/data", "open('/scratch/jane/x')", "C:\\Users\\jane"])
def test_the_check_of_paths_sees_them(text):
    assert MACHINE_PATHS.search(text)


@pytest.mark.parametrize(
    "text", ["${HOME}/data/x", "/path/to/data", "results/scratch/x", "https://host/home/x"]
)
def test_the_check_of_paths_lets_pass(text):
    assert not MACHINE_PATHS.search(text)


def test_nothing_large_or_made_is_checked_in():
    files = checked_in()
    assert [str(path) for path in files if path.stat().st_size > LARGE] == []
    made = (".pyc", ".safetensors", ".pth", ".pt", ".pkl", ".npy", ".log")
    assert [str(path) for path in files if path.suffix in made] == []
    inside = {path.relative_to(ROOT).parts[0] for path in files}
    assert not inside & {".venv", "logs", ".snakemake"}
    assert {path.name for path in files if path.relative_to(ROOT).parts[0] == "results"} <= {"README.md"}


def test_nothing_is_unpickled():
    """`torch.load` only with weights_only, and no pickle at all."""
    for path, text in texts():
        if path.suffix == ".py" and path.is_relative_to(ROOT / "pipeline"):
            assert not re.search(r"\bpickle\.(loads?|Unpickler)\b|\b(dill|joblib|shelve)\.", text), path
            for call in re.finditer(r"torch\.load\(([^)]*)\)", text):
                assert "weights_only=True" in call[1], path
            assert "allow_pickle=True" not in text, path


def readme() -> str:
    path = ROOT / "README.md"
    if not path.is_file():
        pytest.skip("no README.md")
    return path.read_text("utf-8")


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    named = set(re.findall(r"(?:`|^|\$ )make ([a-z][a-z-]*)", readme(), re.M))
    assert {"demo", "test", "test-faults", "test-slurm"} <= named
    assert named <= targets


def test_every_make_target_is_phony_and_explained():
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):(.*)$", text, re.M)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    assert {name for name, _ in targets} == set(phony.split())
    assert [name for name, rest in targets if "##" not in rest] == []


def test_links_between_documents_lead_somewhere():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "config" / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_quoted_means_are_those_of_their_classes():
    """`docs/methods/cbst.md` quotes a row only where the printed and the recomputed mean agree within 0.07."""
    text = (ROOT / "docs" / "methods" / "cbst.md").read_text("utf-8")
    table = text.split("| case | network | printed | mean | test |\n")[1].split("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[1:]]
    assert len(rows) >= 9
    assert [row for row in rows if abs(float(row[2]) - float(row[3])) > 0.0701] == []
