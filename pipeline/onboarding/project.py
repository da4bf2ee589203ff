"""What makes a folder a project: the package's workflow and profiles, and settings of its own.

make_project(Path(), "drive")
"""

from pathlib import Path

from pipeline.artifacts.files import write_text
from pipeline.config.shipped import shipped

PROFILES = ("profiles/default/profile.yaml", "profiles/slurm/profile.yaml")
"""Copied, for people write their machine's GPUs and their cluster's account there."""

_SNAKEFILE = '''\
"""The workflow comes with the package segadapt: `snakemake --cores all` runs what config/ says."""

from pipeline.config.shipped import shipped


include: shipped("workflow/Snakefile")


rule default:
    default_target: True
    input:
        rules.all.input,
'''
_IGNORED = "/results/\n/logs/\n.snakemake/\n"


def make_project(folder: Path, suite: str) -> list[Path]:
    """Write what the folder lacks; its settings name `suite`. Returns the files that were written."""
    files = {
        "Snakefile": _SNAKEFILE,
        ".gitignore": _IGNORED,
        "config/config.yaml": _settings(suite),
        **{place: shipped(place).read_text(encoding="utf-8") for place in PROFILES},
    }
    missing = {folder / place: text for place, text in files.items() if not (folder / place).exists()}
    for path, text in missing.items():
        write_text(path, text)
    return list(missing)


def _settings(suite: str) -> str:
    return (
        f"# The suite that runs where none is named: config/{suite}.yaml. A file that this folder lacks, such as a\n"
        "# recipe or a network, comes with the package; one of the same name here takes its place.\n"
        f"suite: {suite}\n"
    )
