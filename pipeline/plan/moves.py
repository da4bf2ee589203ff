"""When an experiment's folder for people changes what it shows: only with the file that describes it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.files import read_json
from pipeline.config.load import Config, suites_in
from pipeline.plan.records import RunName, RunRecord
from pipeline.plan.run import PlannedRun
from pipeline.stages.record import read_record
from pipeline.stages.results import Results


def moves(runs: Iterable[PlannedRun]) -> Iterator[str]:
    """One line for each run whose folder shows stages of an earlier configuration, and will show others."""
    results = Results()
    for run in runs:
        path = results.metrics(run.experiment, run.seed)
        if not path.is_file():
            continue
        before = read_json(path).get("keys", {})
        now = {name: stage.key for name, stage in run.stages.items()}
        changed = [name for name in {**now, **before} if before.get(name) != now.get(name)]
        if changed:
            yield (
                f"{path.parent}: {run.names['suite']}, or what it names, has changed since this was made; its links "
                f"will move to new stages ({', '.join(changed)}); the former ones stay in {results.root}"
            )


def check_taken(config: Config, runs: Iterable[PlannedRun]) -> None:
    """ConfigError where an experiment's folder is that of another suite's experiment of the same name."""
    results = Results()
    for run in runs:
        other = _owner(results, RunName(experiment=run.experiment, seed=run.seed))
        name = run.experiment.partition("+")[0]
        if other and not _same(other, run.names["suite"]) and _has(config.library.root, other, name):
            raise ConfigError(
                f"{run.names['suite']}: experiments.{name}: {results.run_folder(run.experiment, run.seed)} is that "
                f"of {other}, which has an experiment of this name too; rename one"
            )


def _owner(results: Results, run: RunName) -> str | None:
    """The suite that planned a run last; None where nobody has, or a version whose file is written anew anyhow."""
    try:
        return read_record(results.planned(run.key), RunRecord).names.get("suite")
    except ArtifactError:
        return None


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _has(root: Path, file: str, name: str) -> bool:
    return any(_same(suite.file, file) and name in suite.experiments for suite in suites_in(root))
