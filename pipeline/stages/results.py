"""Where everything lies below `results/`: the one place that puts its paths together."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.folder import MANIFEST, ArtifactFolder
from pipeline.stages.record import ArtifactRef, StageRecord

RESULTS = Path("results")

STAGES, EXPERIMENTS, REPORT, PREVIEW = "stages", "experiments", "report", "preview"
NO_RULES = (STAGES, EXPERIMENTS, REPORT, PREVIEW)
"""What is no rule's folder."""

PAGE, SUMMARY, MADE = "index.html", "summary.txt", "report.json"
"""Of a report: the page, its main table as plain text, and what says that all its runs had finished."""


@dataclass(frozen=True)
class Results:
    """One results folder."""

    root: Path = RESULTS

    @classmethod
    def around(cls, file: Path) -> "Results":
        """The results that a file of `stages/` belongs to."""
        return cls(file.resolve().parent.parent)

    def folder(self, stage: ArtifactRef) -> ArtifactFolder:
        """`<rule>/<key>`, a stage's artifact."""
        return ArtifactFolder(self.root / stage.rule / stage.key)

    def manifest(self, stage: ArtifactRef) -> Path:
        """The file that says that a stage has finished."""
        return self.folder(stage).path / MANIFEST

    def plan(self) -> Path:
        """`stages`, the folder that the plan writes."""
        return self.root / STAGES

    def planned(self, key: str) -> Path:
        """`stages/<key>.json`: what the plan wrote of a stage, of an experiment's run, or of the report."""
        return self.plan() / f"{key}.json"

    def record(self, key: str) -> StageRecord:
        """The planned stage of that key; ArtifactError as `StageRecord.read`."""
        return StageRecord.read(self.planned(key))

    def run_folder(self, experiment: str, seed: int) -> Path:
        """`experiments/<name>/seed<k>`, the folder for people."""
        return self.root / EXPERIMENTS / experiment / f"seed{seed}"

    def metrics(self, experiment: str, seed: int) -> Path:
        """The figures in the folder for people, which mark it as finished."""
        return self.run_folder(experiment, seed) / "metrics.json"

    def report(self, suite: str = "") -> Path:
        """`report/<suite>`, the folder of a suite's page; without a name, of the page that links to all."""
        return self.root / REPORT / suite

    def preview(self, task: str) -> Path:
        """`preview/<task>`, the folder of the page of a task's data."""
        return self.root / PREVIEW / task

    def run_lock(self) -> Path:
        """What `start` locks, so that one run works here."""
        return self.root / ".run-lock"

    def importing(self) -> Path:
        """Where an archive is unpacked before its folders are moved to their places."""
        return self.root / ".import"

    def links(self) -> list[Path]:
        """All links in the folders for people."""
        return [path for path in sorted((self.root / EXPERIMENTS).glob("*/*/*")) if path.is_symlink()]

    def locks(self) -> list[Path]:
        """The locks of all stages that run, or were killed."""
        return list(self.root.glob("*/*/run/lock-*.json"))

    def artifacts(self) -> dict[str, ArtifactFolder]:
        """Every stage's folder by key, finished or not."""
        others = (*NO_RULES, self.importing().name)
        folders = [path for path in sorted(self.root.glob("*/*")) if path.is_dir()]
        return {path.name: ArtifactFolder(path) for path in folders if path.parent.name not in others}
