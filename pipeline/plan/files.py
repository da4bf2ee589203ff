"""Stage files: what the main process writes and every job reads."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import temporary_beside
from pipeline.config.load import Config
from pipeline.plan.planner import PlannedRun
from pipeline.plan.stage import Stage, in_order

RESULTS = Path("results")


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


def write_stage_files(config: Config, runs: Iterable[PlannedRun], results: Path = RESULTS) -> None:
    """Write a file for every planned stage, experiment and the report; existing equal files stay untouched."""
    folder = results / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    runs = list(runs)
    write_stages(config, (stage for run in runs for stage in run.all_stages()), results)
    for run in runs:
        _write_if_changed(folder / f"experiment-{run.experiment}-seed{run.seed}.json", run_record(run))
    report = {
        "key": "report",
        "kind": "report",
        "runs": [{"experiment": run.experiment, "seed": run.seed} for run in runs],
    }
    _write_if_changed(folder / "report.json", report)
