"""Stage files: what the main process writes and every job reads."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import SegadaptError
from pipeline.artifacts.files import temporary_beside
from pipeline.config.load import Config
from pipeline.config.suites import Suite
from pipeline.plan.planner import PlannedRun, Planner
from pipeline.plan.stage import Stage, in_order

RESULTS = Path("results")


def run_folder(results: Path, experiment: str, seed: int) -> Path:
    """`results/experiments/<name>/seed<k>`, what people look at."""
    return results / "experiments" / experiment / f"seed{seed}"


def stage_folder(results: Path, stage: Stage) -> Path:
    """`results/<rule>/<key>`, the artifact's folder."""
    return results / stage.rule / stage.key


def _write_if_changed(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file only when its content differs; not flushed to disk, since the plan can be made again."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    temporary = temporary_beside(path)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _parents(stages: Mapping[str, Stage]) -> dict[str, dict[str, str]]:
    return {role: {"key": stage.key, "rule": stage.rule} for role, stage in sorted(stages.items())}


def stage_record(stage: Stage, run: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `results/stages/<key>.json`."""
    return {
        "key": stage.key,
        "digest": stage.digest,
        "kind": stage.kind,
        "rule": stage.rule,
        "label": stage.label,
        "seed": stage.seed,
        "parents": _parents(stage.parents),
        "parameters": dict(stage.parameters),
        "data": dict(stage.data),
        "hashed": dict(stage.hashed),
        "run": dict(run),
    }


def run_record(run: PlannedRun) -> dict[str, Any]:
    """The content of `results/stages/experiment-<name>-seed<k>.json`: the view for people."""
    return {
        "key": f"experiment-{run.experiment}-seed{run.seed}",
        "kind": "experiment",
        "experiment": run.experiment,
        "seed": run.seed,
        "title": run.title,
        "metric": run.metric,
        "final": run.final,
        "names": dict(run.names),
        "stages": [
            {
                "name": name,
                "key": stage.key,
                "rule": stage.rule,
                "kind": stage.kind,
                "method": stage.parameters.get("method"),
            }
            for name, stage in run.stages.items()
        ],
        "selects": _parents(run.selects),
        "evaluates": _parents(run.evaluates),
    }


def write_stages(config: Config, stages: Iterable[Stage], results: Path = RESULTS) -> None:
    """Write a file for each stage and each of its ancestors; existing equal files stay untouched."""
    folder = results / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    settings = config.settings.run.model_dump(mode="json")
    for stage in in_order(stages):
        _write_if_changed(folder / f"{stage.key}.json", stage_record(stage, settings))


def write_runs(config: Config, runs: Collection[PlannedRun], results: Path = RESULTS) -> None:
    """Write a file for each run and each of its stages; existing equal files stay untouched."""
    write_stages(config, (stage for run in runs for stage in run.all_stages()), results)
    for run in runs:
        path = results / "stages" / f"experiment-{run.experiment}-seed{run.seed}.json"
        _write_if_changed(path, run_record(run))


def finished_runs(planner: Planner, results: Path = RESULTS) -> list[PlannedRun]:
    """Runs that are not selected, of suites that are, whose every stage is finished as the configuration has it now.

    One that cannot be planned, for example because its dataset is not here, has no such results.
    """
    selected = planner.config.experiments
    found = []
    for suite in planner.config.selected_suites():
        for experiment in suite.experiments.values():
            chosen = selected[experiment.name].seeds if experiment.name in selected else ()
            for seed in set(experiment.seeds) - set(chosen):
                if not (run_folder(results, experiment.name, seed) / "metrics.json").is_file():
                    continue
                with suppress(SegadaptError):
                    found.append(planner.run(experiment, seed))
    return [run for run in found if _is_finished(run, results)]


def _is_finished(run: PlannedRun, results: Path) -> bool:
    stages = in_order(run.all_stages())
    return all((stage_folder(results, stage) / "artifact.json").is_file() for stage in stages)


def write_stage_files(
    config: Config,
    runs: Sequence[PlannedRun],
    results: Path = RESULTS,
    finished: Sequence[PlannedRun] = (),
) -> None:
    """Write a file for every planned stage, experiment and report; existing equal files stay untouched.

    `finished`: runs that are not selected and stand on their suite's page too.
    """
    folder = results / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    shown = [*runs, *finished]
    write_runs(config, shown, results)
    suites = {}
    for suite in config.selected_suites():
        key = f"report-{suite.name}"
        report = {"key": key, "kind": "report", "suite": suite.name, "runs": _runs_of(suite, shown)}
        _write_if_changed(folder / f"{key}.json", report)
        suites[suite.name] = _runs_of(suite, runs)
    _write_if_changed(folder / "reports.json", {"key": "reports", "kind": "reports", "suites": suites})


def _runs_of(suite: Suite, runs: Sequence[PlannedRun]) -> list[dict[str, Any]]:
    """Experiment and seed of the runs of a suite, in its order."""
    names = list(suite.experiments)
    own = [run for run in runs if run.experiment in suite.experiments]
    own.sort(
        key=lambda run: (names.index(run.experiment), suite.experiments[run.experiment].seeds.index(run.seed))
    )
    return [{"experiment": run.experiment, "seed": run.seed} for run in own]
