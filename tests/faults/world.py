"""The demo's recipe at a tiny size, its stages run one by one in this process.

world = World.make(tmp_path)          # configuration and stage files
world.run_all()                       # every stage, parents first
world.run("intra")                    # exit code of one stage, by its name in the recipe
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, write_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import PlannedRun, Planner
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file
from pipeline.stages.base import StageFile

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = Path(__file__).parent / "config"
SUITE = Path("config") / "faults.yaml"


def write_configuration(folder: Path) -> None:
    """Copy the shipped configuration into `folder` and lay the tiny experiment `faults` beside it."""
    shutil.copytree(REPOSITORY / "config", folder / "config")
    shutil.copytree(SMALL, folder / "config", dirs_exist_ok=True)


def plan(folder: Path) -> list[PlannedRun]:
    """Plan the experiment `faults` and write its stage files."""
    config = load_config([folder / SUITE], root=folder / "config")
    runs = Planner(config).plan()
    write_stage_files(config, runs, folder / "results")
    return runs


@dataclass(frozen=True)
class World:
    """A folder with `config/` and `results/`; `keys` in the order of the chain, parents first."""

    folder: Path
    keys: tuple[str, ...]
    names: Mapping[str, str]
    """Keys by the recipe's names, and of `prepare` stages, selections and evaluations."""

    @classmethod
    def make(cls, folder: Path) -> "World":
        """Write configuration and stage files; nothing has run yet."""
        write_configuration(folder)
        return cls.planned(folder)

    @classmethod
    def planned(cls, folder: Path) -> "World":
        """Write the stage files of the configuration in `folder`."""
        (run,) = plan(folder)
        names = {name: stage.key for name, stage in run.stages.items()}
        names |= {f"evaluate-{name}": stage.key for name, stage in run.evaluates.items()}
        names |= {f"select-{name}": stage.key for name, stage in run.selects.items()}
        return cls(folder, tuple(stage.key for stage in in_order(run.all_stages())), names)

    def copy(self, folder: Path) -> "World":
        """The same world elsewhere, finished artifacts included."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return World(folder, self.keys, self.names)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def key(self, name: str) -> str:
        return self.names.get(name, name)

    def stage_file(self, name: str) -> Path:
        return self.results / "stages" / f"{self.key(name)}.json"

    def record(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.stage_file(name))
        return found

    def artifact(self, name: str) -> ArtifactFolder:
        return StageFile.read(self.stage_file(name)).folder

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{self.key(name)}.log"

    def settings(self, name: str, **values: Any) -> None:
        """Change how a stage is run (its run settings are not part of its key)."""
        record = self.record(name)
        write_json(self.stage_file(name), {**record, "run": {**record["run"], **values}})

    def run(self, name: str) -> int:
        """Run one stage in this process."""
        return run_file(self.stage_file(name), self.log(name))

    def run_all(self) -> None:
        """Run what has not finished; fails on the first exit code that is not 0."""
        for key in self.keys:
            assert self.run(key) == 0, self.log(key).read_text()

    def forget(self, name: str) -> None:
        """Remove a stage's artifact and log, as if it had never run."""
        shutil.rmtree(self.artifact(name).path)
        self.log(name).unlink(missing_ok=True)

    def states(self, name: str) -> list[str]:
        """Names of the saved training states, ascending."""
        return sorted(path.name for path in (self.artifact(name).state / "training").glob("step-*"))

    def outcomes(self, name: str) -> list[str]:
        """How each attempt of a stage ended."""
        return [entry["outcome"] for entry in read_json(self.artifact(name).run / "history.json")]


def digests(results: Path) -> dict[str, str]:
    """Digest of every finished artifact by key, each file hashed again."""
    return {folder.path.name: folder.load()["digest"] for folder in finished(results)}


def finished(results: Path) -> Iterator[ArtifactFolder]:
    """Every artifact folder below `results` that has its manifest."""
    for path in sorted(results.glob("*/*/artifact.json")):
        yield ArtifactFolder(path.parent)
