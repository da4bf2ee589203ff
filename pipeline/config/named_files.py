"""The files that one experiment's configuration is made of: what a copy of `config/` needs to plan it again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.config.load import DEFAULT_FILE, Config
from pipeline.config.shipped import config_file
from pipeline.config.suites import Experiment, Suite
from pipeline.datasets.spec import DatasetSpec


def files_of(config: Config, suite: Suite, given: Sequence[Path]) -> list[Path]:
    """The settings, the suite, and all library files that the suite names, each once.

    `given`: the files on the command line; other suites among them are left out. What a dataset file names beside
    itself, such as a list, is taken along; its pictures are not.
    """
    others = {Path(other.file).resolve() for other in config.suites if other is not suite}
    settings = [path for path in given if path.resolve() not in others]
    found = [config_file(config.library.root, DEFAULT_FILE.name), Path(suite.file), *settings]
    for experiment in suite.experiments.values():
        found += _of_experiment(config, experiment)
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _of_experiment(config: Config, experiment: Experiment) -> Iterator[Path]:
    library = config.library
    task = library.task(experiment.task, experiment.place("task"))
    yield library.file("tasks", experiment.task)
    yield from library.recipe_files(experiment.recipe, experiment.place("recipe"))
    yield library.file("networks", experiment.network)
    yield library.file("taxonomies", task.taxonomy)
    for split in (*task.source, task.target, *filter(None, [task.evaluate]), *task.also.values()):
        yield from _of_dataset(library.dataset(split.dataset, experiment.place("task")))
    if experiment.labelled is not None and experiment.labelled.names is not None:
        yield config_file(library.root, experiment.labelled.names)


def _of_dataset(spec: DatasetSpec) -> Iterator[Path]:
    yield Path(spec.file)
    named = [split.list_file for split in spec.splits.values() if split.list_file is not None]
    for path in (*named, *spec.mask_paths()):
        if path.startswith("./"):
            yield spec.resolved(path)
