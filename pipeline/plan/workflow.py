"""What the Snakefile asks: the plan in memory while the DAG is made, its files once the folder is locked."""

import functools
import gc
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pipeline.artifacts.errors import ArtifactError, ConfigError, SegadaptError
from pipeline.artifacts.owners import sign
from pipeline.artifacts.program import program
from pipeline.config.load import Config, load_config, suites_in
from pipeline.config.suites import Experiment
from pipeline.plan.files import finished_runs, write_runs, write_stage_files
from pipeline.plan.moves import check_taken
from pipeline.plan.places import check_places
from pipeline.plan.planner import Planner
from pipeline.plan.records import REPORTS, ReportRecord
from pipeline.plan.requests import request_of
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import in_order
from pipeline.plan.stale_views import date_back_stale_views
from pipeline.schema.names import nearest
from pipeline.stages.record import ArtifactRef, StageRecord
from pipeline.stages.results import MADE, Results

Given = ParamSpec("Given")
Result = TypeVar("Result")

RESULTS = Results()


def set_environment(code: Path | None) -> None:
    """Make jobs run with the Python that runs Snakemake, activated or not, and with the package in `code`.

    None: the package is installed, or found as this process found it.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if code is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))
    # Threads that spin while they wait take the cores from the jobs beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def exits_with_message(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """End Snakemake with the message of a mistake; what a rule's function raises it would show as a traceback."""

    @functools.wraps(function)
    def ending(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except (SegadaptError, OSError) as error:
            sys.exit(f"error: {error}")

    # Snakemake asks for it several times a job; found behind the wrapper it takes as long as the function.
    ending.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return ending


class Plan:
    """The runs of a main process: the selected ones, and those that a named target asks for.

    Nothing is written before `write`: a dry run, or a process that does not get the folder's lock, leaves the
    files of a running one as they are. A stage that is not of these runs is known by its file, as all are to a
    job on a cluster's node (`config` None), which never plans.
    """

    def __init__(self, config: Config | None) -> None:
        self._planner = None if config is None else Planner(config)
        self._selected = [] if self._planner is None else self._planner.plan()
        self._runs = {(run.experiment, run.seed): run for run in self._selected}
        self._stages = {stage.key: stage for run in self._selected for stage in in_order(run.all_stages())}

    @classmethod
    @exits_with_message
    def of_main_process(cls, configfiles: Sequence[str], overrides: Mapping[str, Any]) -> "Plan":
        """Note who works here, validate the configuration, plan what it selects, and see which views are of another."""
        sign()
        with _kept():
            config = load_config(configfiles, overrides)
            plan = cls(config)
        date_back_stale_views(plan._selected, config.selected_suites(), RESULTS)
        return plan

    @exits_with_message
    def write(self) -> None:
        """Write the files of all planned runs, and of the selected suites' pages; StorageError before any job."""
        planner = self._main()
        check_places(self._runs.values())
        check_taken(planner.config, self._runs.values())
        others = [run for run in finished_runs(planner) if (run.experiment, run.seed) not in self._runs]
        write_runs(self._runs.values())
        write_stage_files(planner.config, self._selected, finished=others)

    def publish(self) -> None:
        """Make the pages of the selected suites from the runs that have finished, where others keep the rules from it.

        Mistakes are in the logs and on the terminal.
        """
        for suite in self._main().config.selected_suites():
            _publish(ReportRecord(suite=suite.name, runs=()).key, f"report/{suite.name}")
        _publish(REPORTS, REPORTS)

    @exits_with_message
    def parents_of(self, wildcards: Any) -> list[str]:
        """Artifacts that the stage `{key}` reads."""
        return _manifests(self._record(wildcards.key).parents.values())

    @exits_with_message
    def cores_of(self, wildcards: Any) -> int:
        """Cores of the stage `{key}`, so that as many run side by side as have room."""
        return request_of(self._record(wildcards.key)).cores

    @exits_with_message
    def gpus_of(self, wildcards: Any) -> int:
        """GPUs of the stage `{key}`."""
        return request_of(self._record(wildcards.key)).gpus

    @exits_with_message
    def memory_of(self, wildcards: Any) -> int:
        """MB of memory of the stage `{key}`, where a scheduler wants to know."""
        return request_of(self._record(wildcards.key)).mem_mb

    @exits_with_message
    def minutes_of(self, wildcards: Any) -> int:
        """Time limit of the stage `{key}`, where a scheduler sets one."""
        return request_of(self._record(wildcards.key)).minutes

    @exits_with_message
    def figures_of(self, wildcards: Any) -> list[str]:
        """Artifacts that an experiment's folder links to; one that is not selected is planned now."""
        run = self._run(wildcards.experiment, int(wildcards.seed))
        return _manifests(stage.record for stage in run.all_stages())

    @exits_with_message
    def metrics_of(self, wildcards: Any) -> list[str]:
        """`metrics.json` of every selected experiment and seed of a suite."""
        suites = self._main().config.suites
        suite = next((suite for suite in suites if suite.name == wildcards.suite), None)
        if suite is None:
            target, files = _report(wildcards.suite), self._suite_files()
            if wildcards.suite not in files:
                raise ConfigError(f"{target}: no suite {wildcards.suite}; {nearest(wildcards.suite, files)}")
            raise ConfigError(f"{target}: type {_asking(files[wildcards.suite], target)}")
        own = [run for run in self._selected if run.experiment in suite.experiments]
        if not own:
            raise ConfigError(
                f"only: selects no experiment of {suite.file}, whose page is asked for; leave it out"
            )
        return [str(RESULTS.metrics(run.experiment, run.seed)) for run in own]

    @exits_with_message
    def selected_reports(self, _: Any) -> list[str]:
        """The report of every suite with a selected experiment."""
        return [str(_report(suite.name)) for suite in self._main().config.selected_suites()]

    def _main(self) -> Planner:
        assert self._planner is not None, "only the main process plans"
        return self._planner

    def _record(self, key: str) -> StageRecord:
        """A stage of these runs, or of an earlier plan."""
        if key in self._stages:
            return self._stages[key].record
        path = RESULTS.planned(key)
        if not path.is_file():
            raise ArtifactError(
                f"{path} is missing: that stage was never planned; `{program()} plan`, with the --configfile "
                "of its suite, lists the keys"
            )
        return StageRecord.read(path)

    def _run(self, name: str, seed: int) -> PlannedRun:
        if (name, seed) not in self._runs:
            self._runs[name, seed] = run = self._main().run(self._experiment(name, seed), seed)
            self._stages |= {stage.key: stage for stage in in_order(run.all_stages())}
        return self._runs[name, seed]

    def _experiment(self, name: str, seed: int) -> Experiment:
        """Find an experiment of the configuration, selected or not; ConfigError says where it is instead."""
        target = RESULTS.metrics(name, seed)
        found = [suite.experiments[name] for suite in self._main().config.suites if name in suite.experiments]
        if not found:
            raise ConfigError(self._elsewhere(target, name))
        (experiment,) = found
        if seed not in experiment.seeds:
            raise ConfigError(
                f"{target}: {experiment.place('seeds')}: found {list(experiment.seeds)}; add {seed} to them first"
            )
        return experiment

    def _suite_files(self) -> dict[str, str]:
        return {suite.name: suite.file for suite in suites_in(self._main().config.library.root)}

    def _elsewhere(self, target: Path, name: str) -> str:
        """Say which suite has an experiment that the given ones have not, and what to type."""
        config = self._main().config
        files = [suite.file for suite in suites_in(config.library.root) if name in suite.experiments]
        if files:
            return f"{target}: {name} is an experiment of {files[0]}; type {_asking(files[0], target)}"
        names = [name for suite in config.suites for name in suite.experiments]
        return f"{target}: no experiment {name} in {config.location}; {nearest(name, names)}"


@contextmanager
def _kept() -> Iterator[None]:
    """What is made inside stays to the end: no collection walks it, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _report(suite: str) -> Path:
    """What the rule `report` makes, beside the page."""
    return RESULTS.report(suite) / MADE


def _manifests(stages: Iterable[ArtifactRef]) -> list[str]:
    return list(dict.fromkeys(_manifest(stage.rule, stage.key) for stage in stages))


@functools.cache
def _manifest(rule: str, key: str) -> str:
    """Stages are read by several others."""
    return str(RESULTS.manifest(ArtifactRef(rule=rule, key=key)))


def _publish(key: str, log: str) -> None:
    """Run a file of `results/stages/` as a rule would."""
    words = ["run", str(RESULTS.planned(key)), "--log", f"logs/{log}.log"]
    subprocess.run([sys.executable, "-m", "pipeline", *words], check=False)


def _asking(file: str, target: Path) -> str:
    return f"`snakemake --configfile {file} -- {target}`"
